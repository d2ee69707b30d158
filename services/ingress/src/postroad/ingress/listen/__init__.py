"""Ports: what is accepted, PROXY headers, and the certificate that is shown."""
