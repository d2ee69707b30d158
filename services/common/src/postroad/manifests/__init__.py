"""
Reads and compiles manifests, the objects that users write. The data plane never loads the models.

In: files, or objects of the Kubernetes API. `reader` turns them into models (`kinds`). `compiler`
turns all models into the configuration (values of `postroad.policy`) and the conditions of each
object. `generate` writes the CustomResourceDefinitions and docs/resources.md.
"""
