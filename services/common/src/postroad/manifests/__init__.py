"""
Manifests: what users write, read and compiled. No process of the data plane imports it.

Files or objects of the Kubernetes API come in. `reader` makes models of them (`kinds`), `compiler`
makes of all models what is to be in force (values of `postroad.policy`) and what is to be said of
each object. `generate` writes the CustomResourceDefinitions and docs/resources.md.
"""
