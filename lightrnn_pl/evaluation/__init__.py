"""Judging a trained model: perplexity with its protocol, and pictures."""
