"""``lightrnn-rescore metric=wer`` on small lists of a recognizer, with n-grams, whose probabilities are known."""

import json

import pytest

from lightrnn_pl.commands.rescore import rescore as command
from tests.ngrams.test_arpa import SMALL

kaldialign = pytest.importorskip("kaldialign")

REFERENCES = {"u1": "a b", "u2": "a b", "u3": "b b", "u4": ""}
HYPOTHESES = {"u1": ["b a", "a b", "b"], "u2": ["a b", "b"], "u3": ["b x", "b x x"]}
"""The n-grams of ``SMALL`` prefer "a b".  No hypothesis of u3 is correct, and u4 has none."""


@pytest.fixture
def rescore(tmp_path, monkeypatch, capsys, configuration):
    """Runs the command; returns its report and output.  The files are the lists in both formats."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kn.arpa").write_text(SMALL)
    keyed = [(f"{key}-{n}", text) for key, texts in HYPOTHESES.items() for n, text in enumerate(texts, start=1)]
    (tmp_path / "words_text").write_text("".join(f"{key} {text}\n" for key, text in keyed))
    (tmp_path / "acwt").write_text("".join(f"{key} {10 + number / 8}\n" for number, (key, _) in enumerate(keyed)))
    (tmp_path / "text").write_text("".join(f"{key} {text}\n" for key, text in REFERENCES.items()))
    sentences = [int(key[1]) - 1 for key, _ in keyed]
    moses = [
        f"{sentence} ||| {text} ||| Cost0= {-10 - number / 8} ||| -{key[3]}"
        for number, (sentence, (key, text)) in enumerate(zip(sentences, keyed, strict=True))
    ]
    (tmp_path / "list").write_text("\n".join([*moses, "3 |||  |||  ||| 0"]) + "\n")
    (tmp_path / "refs").write_text("".join(f"{text}\n" for text in REFERENCES.values()))

    def run(*arguments: str):
        fixed = ["metric=wer", "checkpoints=[kn.arpa]", "restarts=1", "directions=1", "json=report.json"]
        command(configuration("rescore", *fixed, *arguments))
        return json.loads((tmp_path / "report.json").read_text()), "".join(capsys.readouterr())

    return run


KALDI = ("format=kaldi", "dev=words_text", "dev_references=[text]", "test=words_text", "test_references=[text]")
COSTS = ("dev_costs=[acwt]", "test_costs=[acwt]")
MOSES = ("dev=list", "dev_references=[refs]", "test=list", "test_references=[refs]")


def test_kaldi_lists_are_rescored_like_those_of_moses(rescore, tmp_path):
    report, output = rescore(*KALDI, *COSTS, "onebest=best")
    listed, _, rescored = report["systems"]
    # Of six words, "b a" has two errors and "b x" one; the best hypotheses of the lists have one error.
    assert (listed["test_wer"], rescored["test_wer"]) == pytest.approx((100 * 3 / 6, 100 / 6))
    assert report["oracle"]["test_wer"] == report["oracle"]["dev_wer"] == pytest.approx(100 / 6)
    assert (tmp_path / "best").read_text() == "u1 a b\nu2 a b\nu3 b x\nu4\n"
    assert "test: 1 of 4 sentences have no hypothesis" in output and "tuned + LanguageModel0: WER 16.67" in output
    assert "weights tuned on only 3 lists may be worse on others" in output
    assert "WER test" in output and "oracle: best hypothesis of each list" in output
    moses, _ = rescore(*MOSES, "weights={Cost0: 1}", "onebest=best.moses")
    assert [one["test_wer"] for one in moses["systems"]] == pytest.approx([50, 50, 50, 100 / 6])
    assert moses["oracle"]["dev_wer"] == report["oracle"]["dev_wer"]
    assert (tmp_path / "best.moses").read_text() == "a b\na b\nb x\n\n"


def test_references_of_other_sentences_are_noticed(rescore, tmp_path):
    (tmp_path / "other").write_text("z\nz\nz\nz\n")
    _, output = rescore(*MOSES, "dev_references=[other]", "weights={Cost0: 1}")
    assert "even the best hypotheses of dev have a word error rate of" in output
    _, output = rescore(*MOSES, "weights={Cost0: 1}")
    assert "even the best" not in output


def test_a_kaldi_list_without_costs_has_the_rank_as_a_feature(rescore):
    report, _ = rescore(*KALDI)
    assert report["systems"][-1]["weights"].keys() == {"Rank0", "LanguageModel0"}
    assert report["systems"][-1]["test_wer"] == pytest.approx(100 / 6)


def test_given_weights_are_reported_beside_tuned_ones(rescore):
    """The reversed order of the n-grams selects the worst hypotheses."""
    report, _ = rescore(*MOSES, "weights={LanguageModel0: -1}")
    names = {system["name"]: system for system in report["systems"]}
    assert names["given weights"]["dev_wer"] == names["given weights"]["test_wer"] > names["as listed"]["dev_wer"]
    assert report["systems"][-1]["name"] == "+ LanguageModel0"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["test=words_text", "test_references=[text]"], "lists of Kaldi require format=kaldi"),
        (["test=list", "test_references=[short]"], "test=list has 4 sentences, but test_references has 1 lines; pass"),
        (["test=list", "test_references=[long]"], "4 sentences, but test_references has 6 lines; pass the references"),
        (
            ["test=half", "test_references=[short]"],
            "the ids of test=half are 7 to 7, but must be line numbers of test_references, counted from 0; subtract 7",
        ),
        ([*KALDI, "dev_costs=[text]"], "words_text: line 1 has the key u1-1, but text has u1; pass costs of the same"),
        ([*KALDI, "test_references=[text,text]"], "format=kaldi requires one file of references"),
        ([*MOSES, "dev_costs=[acwt]"], "dev_costs=['acwt'] applies to format=kaldi; omit it"),
    ],
)
def test_errors_are_one_line(rescore, tmp_path, arguments, message):
    (tmp_path / "short").write_text("a\n")
    (tmp_path / "long").write_text("a\n" * 6)
    (tmp_path / "half").write_text("7 ||| a ||| Cost0= 1 ||| 1\n")
    unused = [] if "dev" in "".join(arguments) else ["restarts=10", "directions=10"]
    with pytest.raises(ValueError) as error:
        rescore(*arguments, *unused)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_count_that_differs_within_few_lists_is_noticed(rescore, monkeypatch):
    monkeypatch.setattr("lightrnn_pl.commands.rescore._FEW_DIFFERENT", 0.5)
    _, output = rescore(*KALDI, "word_count=true", "unknown_count=true")
    assert "the hypotheses of only 33% of the lists differ in UnknownWordCount0" in output
    assert "compare with unknown_count=false" in output and "differ in WordCount0" not in output
