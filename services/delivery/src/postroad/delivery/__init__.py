"""
Delivery: takes mail from the queue and hands it to MX hosts and smarthosts.

`dispatch` takes records, which wait at `sites`, and keeps the sites' limits. `sharing` shares the
limits with other processes. `routing` finds the hosts. `attempt` tries the hosts, with SMTP
sessions of `postroad.smtp_client`. `settling` decides what follows from the replies.

In: leased records from the queue, the configuration, answers of the DNS, replies of hosts. Out:
mail to hosts; to the queue each record's end or next form, notifications, and events.
"""
