"""Pull requests: what they ask for, the server's consumers, and the records that come."""
