"""
Generates files from the models: CustomResourceDefinitions with their status, docs/resources.md.
"""
