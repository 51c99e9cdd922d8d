"""Members: files with other vocabularies, lmplz and KenLM, and sums of probabilities of at most one."""

import math
import shutil
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from lightrnn_pl.ngrams import members
from lightrnn_pl.ngrams.arpa import write_arpa
from lightrnn_pl.ngrams.kneser_ney import estimate_kneser_ney
from lightrnn_pl.ngrams.members import KenlmMember, NgramMember, estimate_member, read_member
from lightrnn_pl.ngrams.ngram_model import NgramModel
from lightrnn_pl.vocabulary import Vocabulary
from tests.ngrams.ngram_texts import END, WORDS, ids_of, probabilities_after, random_lines

VOCABULARY = Vocabulary(
    ("<eos>", "w3", "<unk>", "w1", "w2", "new", "newer", "w0"), [9, 8, 7, 6, 5, 4, 3, 2], unknown="<unk>", end="<eos>"
)
"""A vocabulary with other ids than the file, two additional words, and some of its words missing."""


@pytest.fixture(scope="module")
def arpa(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("arpa") / "tiny.arpa"
    model, _ = estimate_kneser_ney(ids_of(random_lines(0)), len(WORDS), END, order=3)
    write_arpa(NgramModel(model.levels, model.begin, model.end, (*WORDS, "<s>")), path)
    return path


def test_estimated_model_uses_the_ids_of_the_vocabulary():
    words = (*WORDS[:-1], "<s>", "<eos>")  # <s> is an ordinary word in this vocabulary
    vocabulary = Vocabulary(words, np.ones(len(words)), unknown="<unk>", end="<eos>")
    lines = [[*line[:-1], "<s>", "<eos>"] for line in random_lines(0)]
    member = estimate_member(ids_of(lines, words), vocabulary, 3, "own")
    probabilities = probabilities_after(member, [1], len(words) - 1, len(words))
    assert probabilities.sum() == pytest.approx(1) and probabilities[words.index("<s>")] > 0.05
    assert member.details["words_without_ngrams"] == member.details["words_outside_the_vocabulary"] == 0
    assert [len(each["discounts"]) for each in member.details["by_order"]] == [3, 3, 3]


def test_missing_words_share_the_unknown_word_of_the_file(arpa):
    member = read_member(arpa, VOCABULARY)
    assert (member.details["words_without_ngrams"], member.details["words_outside_the_vocabulary"]) == (2, 8)
    probabilities = probabilities_after(member, [VOCABULARY.id("w1")], 0, len(VOCABULARY))
    assert probabilities[2] == pytest.approx(probabilities[5]) == pytest.approx(probabilities[6])
    whole = probabilities_after(
        read_member(arpa, Vocabulary(WORDS, np.ones(14), unknown="<unk>", end="</s>")), [2], END, len(WORDS)
    )
    assert probabilities[[2, 5, 6]].sum() == pytest.approx(whole[0])
    assert probabilities[[7, 3, 4, 1, 0]] == pytest.approx(whole[[1, 2, 3, 4, END]])
    assert probabilities.sum() < 1 and 0 < member.details["unigram_mass_outside"] < 1


def test_the_same_vocabulary_in_another_order_sums_to_one(arpa):
    shuffled = np.random.default_rng(0).permutation(WORDS).tolist()
    vocabulary = Vocabulary(shuffled, np.ones(len(WORDS)), unknown="<unk>", end="</s>")
    member = read_member(arpa, vocabulary)
    for context in ([], [vocabulary.id("w1")], [vocabulary.id("<unk>"), vocabulary.id("w0")]):
        assert probabilities_after(member, context, vocabulary.end_id, len(WORDS)).sum() == pytest.approx(1, abs=1e-5)
    assert member.details["unigram_mass_outside"] == 0


def test_without_unknown_word_missing_words_have_probability_zero(tmp_path, arpa):
    (tmp_path / "a.arpa").write_text(arpa.read_text().replace("<unk>", "w99"))
    member = read_member(tmp_path / "a.arpa", VOCABULARY)
    scores = member.log_probabilities(np.array([VOCABULARY.id("new"), 0]))
    assert scores[0] == -math.inf and math.isfinite(scores[1])


def test_a_file_from_text_with_line_ends_scores_text_without(arpa):
    """The end marker of the file is a word outside the vocabulary, so probabilities sum to less than one."""
    vocabulary = Vocabulary(WORDS[:-1], np.ones(END), unknown="<unk>")
    member = read_member(arpa, vocabulary)
    assert member.details["words_outside_the_vocabulary"] == 1
    context = ids_of(random_lines(0))[:1].tolist()
    without = probabilities_after(member, context, None, END)
    with_ends = read_member(arpa, Vocabulary(WORDS, np.ones(len(WORDS)), unknown="<unk>", end="</s>"))
    assert without == pytest.approx(probabilities_after(with_ends, context, END, len(WORDS))[:-1])
    assert 0.5 < without.sum() < 1


def test_a_file_without_line_ends(tmp_path):
    """It scores text without line ends as before it was written, and is refused for text with line ends."""
    vocabulary = Vocabulary(WORDS[:-1], np.ones(END), unknown="<unk>")
    tokens = ids_of([line[:-1] for line in random_lines(0)])
    path = tmp_path / "a.arpa"
    estimated = estimate_member(tokens, vocabulary, 3, arpa=path)
    assert "</s>" not in path.read_text()
    loaded = read_member(path, vocabulary)
    assert np.allclose(loaded.log_probabilities(tokens), estimated.log_probabilities(tokens), atol=1e-5)
    with pytest.raises(ValueError, match=r"a\.arpa has no </s>; estimate the model from text with line ends"):
        read_member(path, VOCABULARY)


def test_lmplz_is_not_used_without_line_ends(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/false")
    vocabulary = Vocabulary(WORDS[:-1], np.ones(END), unknown="<unk>")
    tokens = ids_of([line[:-1] for line in random_lines(0)])
    assert estimate_member(tokens, vocabulary, 2).details["estimator"] == "own"
    with pytest.raises(ValueError, match=r"data\.vocabulary\.end=null; set interpolate_estimator=own"):
        estimate_member(tokens, vocabulary, 2, "lmplz")


@pytest.mark.parametrize("estimator", ["own", "lmplz"])
def test_a_text_too_large_for_memory_is_refused_before_it_is_counted(monkeypatch, estimator):
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/false")
    monkeypatch.setattr(members, "free_memory", lambda: 40 * 100 * 5 - 1)
    vocabulary = Vocabulary(WORDS, np.ones(len(WORDS)), unknown="<unk>", end="</s>")
    with pytest.raises(ValueError, match=r"for 100 training tokens.*lmplz -o 5 .* interpolate=kn\.binary"):
        estimate_member(np.full(100, END), vocabulary, 5, estimator)


def test_rejects_invalid_settings(tmp_path, monkeypatch):
    tokens = ids_of(random_lines(0))
    vocabulary = Vocabulary(WORDS, np.ones(len(WORDS)), unknown="<unk>", end="</s>")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    for estimator, message in (
        ("best", "interpolate_estimator must be auto, lmplz or own, got 'best'"),
        ("lmplz", "lmplz is not on the PATH"),
    ):
        with pytest.raises(ValueError, match=message):
            estimate_member(tokens, vocabulary, estimator=estimator)
    with pytest.raises(FileNotFoundError, match="kneser"):
        read_member("kneser", vocabulary)
    assert estimate_member(tokens, vocabulary, 2).details["estimator"] == "own"
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/false")
    with pytest.raises(ValueError, match="interpolate_arpa cannot be used with interpolate_estimator=lmplz"):
        estimate_member(tokens, vocabulary, estimator="lmplz", arpa=tmp_path / "a.arpa")
    with pytest.raises(ValueError, match="lmplz failed: no error message; interpolate_estimator=own does not need it"):
        estimate_member(tokens, vocabulary, estimator="lmplz")
    estimated = estimate_member(tokens, vocabulary, 2, arpa=tmp_path / "a.arpa.gz")
    loaded = read_member(tmp_path / "a.arpa.gz", vocabulary)
    assert np.allclose(estimated.log_probabilities(tokens), loaded.log_probabilities(tokens), atol=1e-5)


@pytest.mark.parametrize("block", [1, 2, 1000])
def test_runs_lmplz_on_ids_and_retries_with_fallback(tmp_path, monkeypatch, arpa, block):
    """A fake lmplz that copies its input, and fails unless the fallback is enabled."""
    monkeypatch.setattr(members, "_BLOCK", block)
    script = tmp_path / "lmplz"
    script.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *--discount_fallback*) ;; *) echo "rerun with --discount_fallback" >&2; exit 1;; esac\n'
        f'while [ "$1" != --text ]; do shift; done\ncp "$2" {tmp_path}/text\n'
        f'sed "s/\\tw/\\t/; s/ w/ /g" {arpa} > "$4"\n'
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(shutil, "which", lambda name: str(script))
    words = tuple(str(number) for number in range(12))
    vocabulary = Vocabulary(("end", *words), np.ones(13), end="end")
    tokens = np.array([1, 2, 0, 0, 12, 0])
    member = estimate_member(tokens, vocabulary, 3)
    assert (tmp_path / "text").read_text() == "1 2\n\n12\n"
    assert (
        member.details["estimator"] == "lmplz" and member.details["words_without_ngrams"] == 1
    )  # the file does not contain w12
    assert np.isfinite(member.log_probabilities(tokens)).all()


def test_kenlm_returns_the_same_scores(arpa):
    pytest.importorskip("kenlm", reason="needs the kenlm package")
    tokens = np.concatenate([ids_of(random_lines(1)) % len(VOCABULARY), [0]])
    kenlm, own = KenlmMember(arpa, VOCABULARY, "kenlm"), read_member(arpa, VOCABULARY)
    assert isinstance(own, NgramMember)
    assert np.allclose(kenlm.log_probabilities(tokens), own.log_probabilities(tokens), atol=1e-4)
    assert kenlm.details == {"order": 3, "words_without_ngrams": 2, "words_outside_the_vocabulary": None}


def test_reports_that_kenlm_is_not_installed(tmp_path, monkeypatch):
    path = tmp_path / "model.bin"
    path.write_bytes(b"mmap lm http://kheafield.com/code format version 5\n\0" + bytes(100))
    monkeypatch.setitem(sys.modules, "kenlm", None)
    with pytest.raises(ValueError, match=r"pip install 'lightrnn_pl\[kenlm\]'"):
        read_member(path, VOCABULARY)


def test_reports_a_file_that_kenlm_cannot_read(tmp_path):
    pytest.importorskip("kenlm", reason="needs the kenlm package")
    path = tmp_path / "model.bin"
    path.write_bytes(b"mmap lm http://kheafield.com/code format version 5\n\0" + bytes(100))
    with pytest.raises(ValueError, match="kenlm cannot read"):
        read_member(path, VOCABULARY)
