"""
The peers of a relay: a scripted MX, an SMTP client, DNS, an OTLP collector, certificates.

In: the replies, records and certificates that a test wants. Out: servers on loopback, clients, and
what they received, to the test.
"""
