"""Mail as values: addresses, envelopes, status codes, trace fields, delivery reports. No I/O."""
