"""A million messages through one relay, and a queue of hundreds of thousands beside them."""
