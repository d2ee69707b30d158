"""What a relay talks to: a scripted MX, an SMTP client, DNS, an OTLP collector, certificates."""
