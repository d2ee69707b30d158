"""
Generates files from the models: CustomResourceDefinitions with their status, docs/resources.md.

In: the models of the kinds. Out: the chart's CustomResourceDefinitions and docs/resources.md, as
files that `make` writes.
"""
