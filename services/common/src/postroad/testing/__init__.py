"""Doubles for the network's edge, shipped so that others can test against Postroad too."""
