"""Chest X-ray classification: the library behind the workflow's steps.

Nothing in here knows Snakemake or decides a path.
"""
