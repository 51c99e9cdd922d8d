"""Hostile and damaged input, and processes that are killed."""
