"""The client of NATS: the connection, requests, reads of streams, and key-value buckets."""
