"""
Sites, as mail for them waits: rooms, shares, limits, pace. Decisions without I/O but for `windows`.
"""
