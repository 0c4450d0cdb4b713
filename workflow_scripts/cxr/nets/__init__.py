"""Nets: built, loaded, converted, and what they predict."""
