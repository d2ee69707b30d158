"""
Encodes and decodes records, events and orders; only this package uses our protobuf messages.

In: records, events and orders as values, or octets that were stored. Out: octets to store, or
values; `RecordCorrupt` for octets that are no record.
"""
