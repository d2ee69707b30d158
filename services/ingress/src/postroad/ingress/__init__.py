"""Ingress: accepts mail over SMTP and answers 250 when the queue has it, not before."""
