"""
One attempt at a record: host after host, until each recipient has an outcome.

`attempt` walks the hosts, `turn` is its part of a session, `verdict` judges what a transaction
decided. `connection` keeps a session from one record to the next.

In: a waiting record with its route, and the site's connection, from `dispatch`. Out: transactions
to hosts through `postroad.smtp_client`; an outcome for each recipient (`AttemptResult`) to
`dispatch`.
"""
