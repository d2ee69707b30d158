"""Encodes and decodes records, events and orders; only this package uses our protobuf messages."""
