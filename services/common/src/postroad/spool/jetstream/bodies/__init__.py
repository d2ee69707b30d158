"""Large bodies beside the records: written, read, and deleted as the last record ends."""
