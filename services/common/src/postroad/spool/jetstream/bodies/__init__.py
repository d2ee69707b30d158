"""
Large bodies, stored apart from the records; each is deleted when its last record ends.

In: content in pieces from ingress, and the ends of records from `consume`. Out: chunks in the blob
store, a `BlobRef` for the records, content in pieces to delivery, and deletions.
"""
