"""Sites and the mail that waits for them: rooms, shares, limits, pace, idle sessions."""
