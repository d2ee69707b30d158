"""Stores records in the queue: durable on return, and stored once even with retries."""
