"""The base class of embeddings, cores, outputs and losses."""

from __future__ import annotations

from torch import nn


class Part(nn.Module):
    """A part of a language model, which initializes its own parameters."""

    @property
    def table_bytes(self) -> int:
        """Size in bytes of tables that are not trained, such as a map of shared vectors, without the word table."""
        return 0

    def initialise(self, scale: float) -> None:
        """Initialize the parameters: uniformly in [-scale, scale] (Zaremba et al. 2014), unless overridden."""
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -scale, scale)
