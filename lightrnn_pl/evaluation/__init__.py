"""Perplexity of a trained model, with the protocol under which it is measured."""
