"""Reallocation of words during training (LightRNN, section 3.2)."""
