"""The mail servers that the bench measures, behind one interface."""
