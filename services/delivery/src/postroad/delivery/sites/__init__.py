"""
Sites and the mail that waits for them: rooms, shares, limits, pace, idle sessions.

`sites` has all sites of a process, `site` one of them for one egress path, `total` their use
together. `waiting` has the lines, `limits` and `concurrency` say how much a site takes, `pool`
keeps sessions.

In: waiting records, ends of attempts and idle sessions from `dispatch` and `attempt`; portions and
slices from `sharing`. Out: the next record that may go, whether a connection may open, and when to
try again.
"""
