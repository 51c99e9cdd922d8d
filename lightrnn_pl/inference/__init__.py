"""Inference with a trained model: scoring, next words, generation, and growing its vocabulary."""
