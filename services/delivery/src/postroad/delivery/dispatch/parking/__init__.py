"""
Mail whose site has no room or is down: put off, remembered in its order, and recalled.

In: waiting records that find no room at their site, and sites with room again. Out: deferred puts
to the queue; later, claims that make these records ready before they are due.
"""
