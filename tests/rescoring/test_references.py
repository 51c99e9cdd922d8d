"""References: BLEU statistics equal those of sacrebleu, and word errors equal a slow edit distance."""

import functools

import numpy as np
import pytest

from lightrnn_pl.rescoring.references import BleuReferences, WerReferences

sacrebleu = pytest.importorskip("sacrebleu")


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("tokenize", ["none", "13a", "char"])
@pytest.mark.parametrize("sets", [1, 3])
def test_summed_counts_equal_sacrebleu(sets, tokenize, lowercase):
    generator = np.random.default_rng(sets)
    alphabet = ["the", "The", "cat", "sat,", "on", "U.S.", "mat.", "(a)"]

    def text() -> str:
        return " ".join(generator.choice(alphabet, generator.integers(0, 14)))

    hypotheses = [text() for _ in range(60)]
    references = [[text() for _ in range(60)] for _ in range(sets)]
    # As in a list, several hypotheses per sentence are counted.
    reference_set = BleuReferences(references, tokenize, lowercase)
    total = np.zeros(10, dtype=np.int64)
    for number, hypothesis in enumerate(hypotheses):
        reference_set.counts(number, "the The cat")
        total += reference_set.counts(number, hypothesis)
    expected = sacrebleu.corpus_bleu(hypotheses, references, tokenize=tokenize, lowercase=lowercase)
    assert float(BleuReferences.value(total)) == pytest.approx(expected.score, abs=1e-9)
    assert total.tolist() == [expected.sys_len, expected.ref_len, *expected.counts, *expected.totals]
    assert expected.score > 1


def test_rejects_invalid_references():
    with pytest.raises(ValueError, match=r"one line per sentence, got \[2, 1\]"):
        BleuReferences([["a", "b"], ["a"]])
    with pytest.raises(ValueError, match="tokenize=latin is not a sacrebleu tokenizer"):
        BleuReferences([["a"]], "latin")
    with pytest.raises(ValueError, match="sentence 1 of the list has no reference; there are 1 references"):
        BleuReferences([["a"]]).counts(1, "a")


def slow_errors(reference: list[str], hypothesis: list[str]) -> int:
    @functools.cache
    def errors(i: int, j: int) -> int:
        if min(i, j) == 0:
            return max(i, j)
        same = reference[i - 1] == hypothesis[j - 1]
        return min(errors(i - 1, j - 1) + (not same), errors(i - 1, j) + 1, errors(i, j - 1) + 1)

    return errors(len(reference), len(hypothesis))


@pytest.mark.parametrize("lowercase", [False, True])
def test_word_errors_equal_a_slow_edit_distance(lowercase):
    pytest.importorskip("kaldialign")
    generator = np.random.default_rng(0)
    texts = [" ".join(generator.choice(["a", "A", "b", "c"], generator.integers(0, 8))) for _ in range(60)]
    references = WerReferences([texts], lowercase)
    total, errors, words = np.zeros(2, dtype=np.int64), 0, 0
    for number, hypothesis in enumerate(reversed(texts)):
        total += references.counts(number, hypothesis)
        split = [(text.lower() if lowercase else text).split() for text in (texts[number], hypothesis)]
        errors, words = errors + slow_errors(*split), words + len(split[0])
    assert total.tolist() == [errors, words] and errors > 50
    assert float(references.value(total)) == pytest.approx(100 * errors / words)
    assert float(references.quality(total)) == -float(references.value(total))
    assert references.value(np.array([[0, 0], [3, 2]])).tolist() == [0, 150]


def test_word_error_rate_requires_one_reference_per_sentence():
    pytest.importorskip("kaldialign")
    with pytest.raises(ValueError, match="metric=wer requires one reference per sentence, got 2 sets"):
        WerReferences([["a"], ["b"]])
    with pytest.raises(ValueError, match="sentence 1 of the list has no reference"):
        WerReferences([["a"]]).counts(1, "a")
