"""Plots: the style of all figures, values shown on hover, and curves of perplexity over training."""
