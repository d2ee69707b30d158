"""
The kinds of manifests: Relay, Domain, DomainGrant, Client and Quota; the types of their fields.

In: plain values from YAML or JSON. Out: an immutable model of the object's spec, or an error at the
field; JSON Schema with CEL rules.
"""
