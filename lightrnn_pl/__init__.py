"""Compact word-level language models with very large vocabularies: LightRNN and slim embeddings."""
