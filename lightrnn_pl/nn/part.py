"""What embeddings, cores, outputs and losses have in common: each knows how its parameters start."""

from __future__ import annotations

from torch import nn


class Part(nn.Module):
    """A part of a language model."""

    @property
    def table_bytes(self) -> int:
        """Bytes of what is looked up and not trained, such as a map of shared vectors; the word table not counted."""
        return 0

    def initialise(self, scale: float) -> None:
        """Draw the first values: uniform in [-scale, scale] (Zaremba et al. 2014), unless a part knows better."""
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -scale, scale)
