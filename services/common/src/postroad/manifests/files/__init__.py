"""
Manifests from files and folders, read so that every mistake has its file, line, field and reason.
"""
