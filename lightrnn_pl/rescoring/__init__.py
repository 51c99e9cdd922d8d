"""Rescoring of n-best lists: parsing, language model features, tuning of weights (MERT), and reranking."""
