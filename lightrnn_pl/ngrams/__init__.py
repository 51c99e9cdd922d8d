"""Modified Kneser-Ney n-gram models, ARPA files, the unigram cache and their interpolation with a neural model."""
