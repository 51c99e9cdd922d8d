"""How perplexities and epochs are written in terminal output and reports."""

from __future__ import annotations


def perplexity_text(value: float | None) -> str:
    """A perplexity with two decimals, or in scientific notation from a million; None (JSON's infinity) is ``inf``."""
    if value is None:
        return "inf"
    return f"{value:,.2f}" if value < 1e6 else f"{value:.3g}"


def epochs_text(value: float) -> str:
    """A number of epochs with up to two decimals, or with one significant digit below 0.1."""
    return f"{value:,.2f}".rstrip("0").rstrip(".") if value >= 0.1 else f"{value:.1g}"
