"""Scoring lines with an ARPA file: the probabilities of n-grams, and the words of the file as the vocabulary."""

import gzip
import math

import pytest

from lightrnn_pl.ngrams.line_scoring import is_ngram_file, ngram_line_scorer
from tests.ngrams.test_arpa import SMALL

LINES = ["b a", "", "x b", "a  a"]

LOGS = [
    [-0.4, -0.1 - 0.5, -0.2 - 0.7],
    [-0.3 - 0.7],
    [-0.3 - 1.0, -0.6, -0.1 - 0.7],
    [-0.3, -0.2 - 0.5, -0.2 - 0.7],
]
"""The base-10 logarithms of the words of ``LINES`` and of the end markers, by the definition of back-off."""

LOGS[0][1] -= 0.25  # the back-off weight of "<s> b"


@pytest.mark.parametrize("buffer_lines", [1, 3, 100])
@pytest.mark.parametrize("end", [True, False])
def test_lines_are_scored_independently(tmp_path, end, buffer_lines):
    """Without an end marker, only the words are scored."""
    text = SMALL if end else SMALL.replace("-0.7\t</s>\n", "").replace("ngram 1=5", "ngram 1=4")
    (tmp_path / "small.arpa.gz").write_bytes(gzip.compress(text.encode()))
    scorer = ngram_line_scorer(tmp_path / "small.arpa.gz")
    scored = list(scorer.score(LINES, buffer_lines))
    assert [line.line for line in scored] == LINES
    assert [line.words for line in scored] == [[*line.split(), *["</s>"] * end] for line in LINES]
    assert [line.known[: len(line.words) - end] for line in scored] == [[True] * 2, [], [False, True], [True] * 2]
    for line, logs in zip(scored, LOGS, strict=True):
        expected = [log * math.log(10) for log in (logs if end else logs[:-1])]
        assert line.log_probabilities == pytest.approx(expected)


def test_n_gram_files_are_recognized_by_their_content(tmp_path):
    contents = {
        "arpa": b"\n" + SMALL.encode(),
        "arpa.gz": gzip.compress(SMALL.encode()),
        "binary": b"mmap lm http://kheafield.com/code format version 5\n",
        "bundle": b"PK\x03\x04",
        "damaged.gz": b"\x1f\x8b damaged",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    assert [name for name in contents if is_ngram_file(tmp_path / name)] == ["arpa", "arpa.gz", "binary"]
    assert not is_ngram_file(tmp_path) and not is_ngram_file(tmp_path / "missing")
    with pytest.raises(ValueError, match="is a KenLM binary file, whose words are not listed; pass the ARPA file"):
        ngram_line_scorer(tmp_path / "binary")
