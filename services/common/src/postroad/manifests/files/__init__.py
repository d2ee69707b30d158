"""
Reads manifests from files and folders; every mistake has its file, line, field and reason.

In: paths of files and folders, from the command line. Out: declared objects with their positions,
mistakes, and skipped objects, to `compiler.check` and the commands.
"""
