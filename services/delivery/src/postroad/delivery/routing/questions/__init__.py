"""Questions to the DNS: whose is next, and what was not answered of late."""
