"""Postroad under test: an ingress, a delivery worker, single attempts, a whole `postroad up`."""
