"""
`postroad sink`: an SMTP server that discards mail, or keeps it in files, for tests.

It can refuse or defer a share of the messages. It never passes mail on.

In: SMTP connections, and the shares of mail to refuse or defer. Out: replies, counts, and files of
mail if it is to be kept.
"""
