"""N-best lists: parsing, features, tuning of weights (MERT) and reranking."""
