"""Reallocation of words to cells during training (LightRNN, section 3.2)."""
