"""
Reads manifests from files and folders; every mistake has its file, line, field and reason.
"""
