"""Large bodies, stored apart from the records; each is deleted when its last record ends."""
