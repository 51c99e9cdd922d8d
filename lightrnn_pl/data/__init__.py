"""Text: where it comes from, the cache of its tokens, and the batches it is read in."""
