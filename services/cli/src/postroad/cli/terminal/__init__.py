"""
What a person types and reads: options and their values in; tables, JSON and help out.

It knows no relay and no cluster. Every command builds on it.
"""
