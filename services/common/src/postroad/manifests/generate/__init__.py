"""
What is written from the models: CustomResourceDefinitions with their status, and docs/resources.md.
"""
