"""
Mail as values: addresses, envelopes, status codes, trace fields, delivery reports. No I/O.

In: octets and text from peers, and values from other packages. Out: addresses, parameters and
header fields as values, composed reports and trace fields, text that is safe to show.
"""
