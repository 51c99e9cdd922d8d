"""Corpora, the token cache, and batches for truncated back-propagation through time."""
