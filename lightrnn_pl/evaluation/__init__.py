"""Perplexity of a trained model and the protocol under which it is measured."""
