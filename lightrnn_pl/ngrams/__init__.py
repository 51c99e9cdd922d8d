"""Modified Kneser-Ney n-gram models, ARPA files, unigram caches, and their interpolation with a neural model."""
