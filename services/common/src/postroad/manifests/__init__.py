"""
Reads and compiles manifests, the objects that users write. The data plane never loads the models.

`reader` turns objects into models (`kinds`), `compiler` turns all models into the configuration,
and `generate` writes files from the models.

In: files, or objects of the Kubernetes API. Out: the configuration (values of `postroad.policy`)
and the conditions of each object; the CustomResourceDefinitions and docs/resources.md.
"""
