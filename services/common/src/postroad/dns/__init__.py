"""
The DNS resolver: questions, and answers from a cache. It knows nothing of routes and records.

`resolver` looks names up. `client` asks one question, and alone imports dnspython. `questions` says
whose turn it is. `breaker` ends the wait for a name server that is unavailable.

In: names, and for whom they are asked (an `Asker`), from the router of delivery. Out: `answers`,
each with the reason when there is none.
"""
