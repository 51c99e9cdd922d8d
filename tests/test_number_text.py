"""Perplexities and epochs as text."""

import pytest

from lightrnn_pl.number_text import epochs_text, perplexity_text


@pytest.mark.parametrize(
    ("epochs", "text"), [(40.0, "40"), (3.5, "3.5"), (0.03936, "0.04"), (1.3333, "1.33"), (0.0012, "0.001"), (0, "0")]
)
def test_epochs_are_rounded(epochs, text):
    assert epochs_text(epochs) == text


@pytest.mark.parametrize(
    ("perplexity", "text"), [(89.2, "89.20"), (1234.567, "1,234.57"), (6.7e57, "6.7e+57"), (None, "inf")]
)
def test_large_perplexities_are_in_scientific_notation(perplexity, text):
    assert perplexity_text(perplexity) == text
