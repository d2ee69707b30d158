"""
What has to be found out: DNS records of Domains, smarthosts of Relays, use of Quotas.

Each looks again and again, spread over time, and tells what it found. None of them judges.
"""
