"""Encodes and decodes records, events and orders; the only package that uses protobuf."""
