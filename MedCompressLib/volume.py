"""`Volume`: voxels, where they are in the patient, and what else must survive.

Leaf module: knows arrays and nothing about files or codecs.
"""
