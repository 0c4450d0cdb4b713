"""Scores with intervals, and audits."""
