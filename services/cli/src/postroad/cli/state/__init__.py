"""
The state folder of `postroad up`, which other commands read too.

It holds the queue, the keys, and the results of checking the objects. One relay at a time uses it.

In: from `postroad up`: the access to its queue, the manifests it uses, and their mistakes. Out:
these facts and the keys to other commands; an error if the folder is another relay's.
"""
