"""
`postroad load`: much mail at once, and what the server made of it.

A plan says what is sent, sessions send it side by side, and figures count and time the replies.
"""
