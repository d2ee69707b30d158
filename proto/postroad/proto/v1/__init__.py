"""Version 1 of the wire formats; what is stored in a queue stays readable."""
