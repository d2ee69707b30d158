"""Asking for records: standing pull requests for each lane and class, and what they bring."""
