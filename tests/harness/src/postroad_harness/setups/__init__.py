"""
What the files of one group of tests begin with: objects, doubles and a first call or two.

In: nothing, or the fixtures of a test. Out: values and small parts of a scene, to one group of
tests, such as those of the DNS. What tests of several groups need is beside this folder.
"""
