"""
SMTP as a client: connections, sessions, and what is known of the peers. The only socket code here.
"""
