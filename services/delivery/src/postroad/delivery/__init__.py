"""
Delivery: takes mail from the queue and hands it to MX hosts and smarthosts.

`dispatch` takes records and lets them wait at `sites`, whose limits it keeps; `routing` finds the
hosts; `attempt` walks them with sessions of `client`; `disposition` says what follows of answers.
"""
