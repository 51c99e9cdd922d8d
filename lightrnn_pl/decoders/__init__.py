"""Adapters that use our language models in the beam search of speech decoders (shallow fusion)."""
