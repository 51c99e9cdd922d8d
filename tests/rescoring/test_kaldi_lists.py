"""Lists of Kaldi become lists in the format of Moses with the same hypotheses, costs and order."""

import pytest

from lightrnn_pl.rescoring.kaldi_lists import KaldiList, read_references
from lightrnn_pl.rescoring.nbest_lists import MalformedLines, read_nbest

WORDS = "a_1-1 one two\na_1-2 one\na_1-10\nb-2-1 too\n"
COSTS = "a_1-1 -2.5\na_1-2 3\na_1-10 4\nb-2-1 1e2\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words_text").write_text(WORDS)
    (tmp_path / "acwt").write_text(COSTS)
    (tmp_path / "lmwt.nolm").write_text(COSTS.replace("3", "7"))
    (tmp_path / "text").write_text("a_1 one two\nabsent\nb-2 two\n")
    return tmp_path


def groups_of(kaldi_list: KaldiList) -> list[list[tuple]]:
    groups = read_nbest(kaldi_list.lines(), MalformedLines())
    return [[(one.sentence, one.text, one.features, one.score) for one in group] for group in groups]


def test_costs_become_negated_features(folder):
    references = read_references("text")
    assert references == {"a_1": "one two", "absent": "", "b-2": "two"}
    first, second = groups_of(KaldiList("words_text", ["acwt", "lmwt.nolm"], references))
    assert first == [
        (0, "one two", {"Cost0": (2.5,), "Cost1": (2.5,)}, -1),
        (0, "one", {"Cost0": (-3,), "Cost1": (-7,)}, -2),
        (0, "", {"Cost0": (-4,), "Cost1": (-4,)}, -10),
    ]
    assert second == [(2, "too", {"Cost0": (-100,), "Cost1": (-100,)}, -1)]


def test_without_references_and_costs(folder):
    kaldi_list = KaldiList("words_text")
    for _ in range(2):  # lists are read several times
        first, second = groups_of(kaldi_list)
        assert [one[2:] for one in first] == [({"Rank0": (-n,)}, -n) for n in (1, 2, 10)]
        assert second[0][0] == 1 and kaldi_list.utterances == ["a_1", "b-2"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("words_text", "utt one\n", "line 1: the key utt is not an utterance and a number, such as utt-1"),
        ("words_text", WORDS + "\n", "words_text, line 5 is empty"),
        ("words_text", WORDS + "a_1-3 x\n", "line 5: the utterance a_1 is out of order"),
        ("words_text", WORDS + "c-1 x\n", "line 5 has the key c-1, but acwt has .none."),
        ("words_text", WORDS.replace("b-2", "c"), "line 4 has the key c-1, but acwt has b-2-1"),
        ("text", "a_1 one\n", "the utterance b-2 has no reference"),
        ("text", "a_1 one\na_1 two\n", "text, line 2: the utterance a_1 is duplicated"),
        ("acwt", COSTS.replace("1e2", "much"), "acwt, line 4: the cost 'much' is not a number"),
    ],
)
def test_errors_name_the_line(folder, name, content, message):
    (folder / name).write_text(content)
    costs = ["acwt"] if "acwt" in message else []
    with pytest.raises(ValueError, match=message):
        list(KaldiList("words_text", costs, read_references("text")).lines())
