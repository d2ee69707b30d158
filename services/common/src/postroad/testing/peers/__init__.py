"""The peers of a relay: a scripted MX, an SMTP client, DNS, an OTLP collector, certificates."""
