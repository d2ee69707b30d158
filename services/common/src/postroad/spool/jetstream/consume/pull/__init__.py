"""
Pull requests: what they ask for, the server's consumers, and the records that come.

In: the lanes of this process, and how many records there is room for. Out: pull requests and
consumers to the servers, and each delivered record to `consume.arrivals`.
"""
