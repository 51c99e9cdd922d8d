"""``lightrnn-rescore`` on lists of noisy variants of sentences that a small model has learned."""

import gzip
import json
import math
import sys

import numpy as np
import pytest

from benchmarks.nbest_lists import make
from lightrnn_pl import load
from lightrnn_pl.cli.entry_points import rescore as main
from lightrnn_pl.commands.rescore import rescore as command
from lightrnn_pl.rescoring.nbest_lists import parse_line
from lightrnn_pl.training.experiment import train
from tests.training.runs import compose_run

sacrebleu = pytest.importorskip("sacrebleu")

FEATURES = ("TM0", "Noise0", "Noise1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two trained models, and two lists of 60 sentences with 20 hypotheses each, in an artificial language.

    A word is nearly always followed by the same word, so that a language model can detect noise.
    """
    folder = tmp_path_factory.mktemp("rescore")
    generator = np.random.default_rng(0)
    files = {}
    for split, count in (("train", 600), ("valid", 60), ("test", 60)):
        files[split] = folder / f"{split}.txt"
        lines = []
        for _ in range(count):
            words = [int(generator.integers(30))]
            for _ in range(generator.integers(6, 12)):
                words.append((7 * words[-1] + 3) % 30 if generator.random() < 0.9 else int(generator.integers(30)))
            lines.append(" ".join(f"w{word:02d}" for word in words))
        files[split].write_text("\n".join(lines) + "\n")
    fast = ("optimizer=adam", "optimizer.lr=0.03", "model.hidden_dim=16", "model.num_layers=1", "model.dropout=0.0")
    sizes = ("data.batch_size=10", "data.sequence_length=20", "trainer.max_steps=120", "reallocation=none")
    train(compose_run(folder / "good", files, *fast, *sizes))
    train(compose_run(folder / "bad", files, "trainer.max_steps=1"))
    make(files["valid"], folder / "dev", 60, 20, seed=0)
    make(files["test"], folder / "eval", 60, 20, seed=1)
    return folder


@pytest.fixture
def rescore(folder, tmp_path, monkeypatch, capsys, configuration):
    """Runs the command; returns its report, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments: str):
        common = ["json=report.json", "device=cpu"]
        if any(argument.startswith("dev=") for argument in arguments):
            common += ["restarts=2", "directions=2"]
        command(configuration("rescore", *common, *arguments))
        captured = capsys.readouterr()
        return json.loads((tmp_path / "report.json").read_text()), captured.out, captured.err

    return run


def bleu_of(folder, onebest) -> float:
    hypotheses = onebest.read_text().split("\n")[:-1]
    references = (folder / "eval.ref").read_text().splitlines()
    return sacrebleu.corpus_bleu(hypotheses, [references], tokenize="none", force=True).score


def test_a_language_model_improves_bleu(folder, rescore, tmp_path):
    lists = [f"{key}={folder / name}" for key, name in (("dev", "dev.nbest"), ("test", "eval.nbest"))]
    references = [f"dev_references=[{folder}/dev.ref]", f"test_references={folder}/eval.ref"]
    outputs = ["output=new.nbest.gz", "onebest=best.txt", "weights_out=weights.json"]
    models = f"checkpoints=[{folder}/bad,{folder}/good]"
    report, output, errors = rescore(models, *lists, *references, *outputs)
    checkpoints = [json.loads((folder / name / "metrics.json").read_text())["checkpoint"] for name in ("bad", "good")]
    assert [model["sha256"] for model in report["models"].values()] == [one["sha256"] for one in checkpoints]
    listed, tuned, bad, good, both = report["systems"]
    assert good["test_bleu"] > tuned["test_bleu"] + 3 and good["test_bleu"] > listed["test_bleu"] + 5
    assert listed["dev_bleu"] <= tuned["dev_bleu"] <= min(bad["dev_bleu"], good["dev_bleu"])
    assert max(bad["dev_bleu"], good["dev_bleu"]) <= both["dev_bleu"]
    for system in report["systems"]:
        assert f"{system['name']}" in output and f"{system['test_bleu']:.2f}" in output
    for number, name in enumerate(("bad", "good")):
        assert f"LanguageModel{number}: {folder / name / 'best.ckpt'}" in output
    # The reported BLEU equals that of sacrebleu.
    assert both["test_bleu"] == pytest.approx(bleu_of(folder, tmp_path / "best.txt"), abs=1e-9)

    weights = json.loads((tmp_path / "weights.json").read_text())
    assert weights == both["weights"] and set(weights) == {*FEATURES, "LanguageModel0", "LanguageModel1"}
    assert good["weights"]["LanguageModel0"] == [0] and good["weights"]["LanguageModel1"] != [0]
    before = [parse_line(line) for line in (folder / "eval.nbest").read_text().splitlines()]
    after = [
        parse_line(line) for line in gzip.decompress((tmp_path / "new.nbest.gz").read_bytes()).decode().splitlines()
    ]
    bundle = load(folder / "good")
    scores = bundle.score([one.text for one in after])
    for one, words in zip(after, scores, strict=True):
        assert one.features["LanguageModel1"][0] == pytest.approx(sum(words), abs=1e-4)
        dot = sum(np.dot(weights[name], values) for name, values in one.features.items())
        assert one.score == pytest.approx(dot, rel=1e-6, abs=1e-7)
    by_sentence: dict[int, list] = {}
    for one in after:
        by_sentence.setdefault(one.sentence, []).append(one)
    assert list(by_sentence) == list(range(60))
    for number, group in by_sentence.items():
        assert [one.score for one in group] == sorted((one.score for one in group), reverse=True)
        unchanged = sorted((one.text, one.fields[2].split(" LanguageModel0=")[0]) for one in group)
        assert unchanged == sorted((one.text, one.fields[2]) for one in before if one.sentence == number)
    assert [group[0].text for group in by_sentence.values()] == (tmp_path / "best.txt").read_text().splitlines()

    references_scored = bundle.score((folder / "eval.ref").read_text().splitlines())
    mean = sum(map(sum, references_scored)) / sum(map(len, references_scored))
    assert good["perplexity"] == pytest.approx(math.exp(-mean), rel=1e-4)
    assert "LanguageModel1: " in errors and "unknown" in errors

    # Applying the written weights reproduces the choices.
    again, _, _ = rescore(models, lists[1], references[1], "weights=weights.json", "onebest=again.txt")
    assert again["systems"][-1]["test_bleu"] == both["test_bleu"]
    assert (tmp_path / "again.txt").read_bytes() == (tmp_path / "best.txt").read_bytes()
    assert rescore(models, *lists, *references)[0]["systems"] == report["systems"]


def test_adds_features_without_changing_the_other_fields(folder, rescore, tmp_path):
    rescore(
        f"checkpoints={folder}/good", f"test={folder}/eval.nbest", "output=new.nbest", "word_count=true", "feature=N"
    )
    before = (folder / "eval.nbest").read_text().splitlines()
    after = (tmp_path / "new.nbest").read_text().splitlines()
    for old, new in zip(before, after, strict=True):
        one, other = parse_line(old), parse_line(new)
        assert other.features.pop("WordCount0") == (len(one.text.split()),)
        assert len(other.features.pop("N0")) == 1
        assert (other.features, other.fields[:2], other.fields[3:]) == (one.features, one.fields[:2], one.fields[3:])


def test_reports_malformed_lines_and_missing_sentences(folder, rescore, tmp_path):
    lines = [line for line in (folder / "eval.nbest").read_text().splitlines() if not line.startswith(("3 ", "58 "))]
    lines[30:30] = ["1 ||| half a line", "1 ||| x ||| TM0= 1 ||| 2"]
    (tmp_path / "test.nbest").write_text("\n".join(lines) + "\n")
    weights = "weights={TM0: [1, 1], Noise0: 0, Gone0: 1}"
    report, _, errors = rescore("test=test.nbest", f"test_references={folder}/eval.ref", weights, "onebest=best.txt")
    assert "test.nbest, line 31 skipped" in errors and "test.nbest, line 32 skipped" in errors
    assert "ignored features of test, which have no weight: 1 (Noise1)" in errors
    assert "ignored weights, which have no feature in test: 1 (Gone0)" in errors
    assert report["malformed"]["test"] == {"count": 2, "first": [31, 32]}
    assert report["test"] == {"sentences": 60, "hypotheses": 58 * 20, "sentences_without": 2}
    best = (tmp_path / "best.txt").read_text().split("\n")
    assert len(best) == 61 and best[3] == best[58] == ""
    assert report["systems"][-1]["test_bleu"] == pytest.approx(bleu_of(folder, tmp_path / "best.txt"), abs=1e-9)


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("WordCount0", "word_count=true"),
        ("UnknownWordCount0", "unknown_count=true"),
        ("LanguageModel1", "all checkpoints of the tuning"),
    ],
)
def test_weights_of_features_that_the_command_would_add_are_not_lost(name, option, folder, rescore, tmp_path):
    arguments = (f"test={folder}/eval.nbest", f"test_references={folder}/eval.ref", "onebest=best.txt")
    with pytest.raises(ValueError, match=f"a weight of {name}, but the list has no such feature; pass {option}, or"):
        rescore(*arguments, f"weights={{TM0: [1, 1], Noise0: 0, {name}: 1}}")
    assert not (tmp_path / "best.txt").exists()


def test_an_error_of_the_command_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lightrnn-rescore"])
    with pytest.raises(SystemExit) as end:
        main()
    errors = capsys.readouterr().err
    assert end.value.code == 2 and errors.startswith("error: nothing to do; pass test=LIST") and errors.count("\n") == 1


def test_errors_are_one_line(folder, rescore, tmp_path):
    test, dev = f"test={folder}/eval.nbest", f"dev={folder}/dev.nbest"
    (tmp_path / "back.nbest").write_text("".join(f"{n} ||| a ||| TM0= 1 ||| 1\n" for n in (0, 1, 1, 0)))
    (tmp_path / "short.ref").write_text("a\n")
    (tmp_path / "empty").write_text("")
    for arguments, message in (
        ([dev], "tuning needs both a list and its references"),
        (["test=nowhere"], "nowhere"),
        (["test=back.nbest"], "back.nbest: line 4: sentence 0 comes after sentence 1"),
        (["test=empty"], "test=empty contains no valid hypothesis"),
        (["dev=empty", "dev_references=short.ref"], "contains no valid hypothesis"),
        ([test, "test_references=short.ref"], "has 60 sentences, but test_references has 1 lines; pass the references"),
        ([test, "test_references=[short.ref,empty]"], "one line per sentence, got"),
        ([test, "tokenize=latin", "test_references=short.ref"], "tokenize=latin"),
        ([test, "weights={TM0: 1}"], "feature 'TM0' has 2 values in the list, but 1 weights"),
        ([test, f"output={folder}/eval.nbest"], "is already used for another input or output file"),
        ([test, "output=a", "onebest=a"], "is already used for another input or output file"),
        ([test, "weights_out=w.json"], "requires tuning"),
        ([test, f"checkpoints={folder}/good", "feature=Noise"], "already has a feature Noise0"),
        ([dev, f"dev_references={folder}/dev.ref", f"checkpoints={folder}/good", "feature=TM"], "feature TM0"),
        ([test, "feature='a b'"], "feature=a b must be a name without whitespace"),
        ([test, "word_count=some"], "word_count must be true or false, got some"),
        ([test, "seed=x"], "seed must be an integer"),
        ([test, "metric=per"], "metric must be bleu or wer, got 'per'"),
        (
            [test, "metric=wer", f"test_references={folder}/eval.ref", "tokenize=13a"],
            "tokenize=13a applies to metric=bleu",
        ),
    ):
        with pytest.raises((ValueError, FileNotFoundError)) as error:
            rescore(*arguments)
        assert message in str(error.value) and "\n" not in str(error.value), arguments
    assert (folder / "eval.nbest").stat().st_size > 0


def test_a_list_without_a_purpose_is_refused(folder, configuration):
    with pytest.raises(ValueError, match="nothing is measured or written for test; pass test_references"):
        command(configuration("rescore", f"test={folder}/eval.nbest"))


def test_the_number_of_unknown_words_is_a_feature_with_a_tuned_weight(folder, rescore, tmp_path):
    """In this list, exactly the wrong hypotheses contain an unknown word."""
    lines, references = [], []
    for number in range(20):
        right, wrong = f"w{number:02d} w03 w04 w05", f"w{number:02d} xqzzy w04 w05"
        lines += [f"{number} ||| {wrong} ||| TM0= 0.1 ||| 0.1", f"{number} ||| {right} ||| TM0= 0 ||| 0"]
        references.append(right)
    (tmp_path / "list").write_text("\n".join(lines) + "\n")
    (tmp_path / "refs").write_text("\n".join(references) + "\n")
    models = f"checkpoints=[{folder / 'bad'},{folder / 'good'}]"
    tuning = ("dev=list", "dev_references=[refs]", "weights_out=weights.json", "unknown_count=true")
    report, _, errors = rescore(models, *tuning, "test=list", "test_references=[refs]", "output=new")
    weights = json.loads((tmp_path / "weights.json").read_text())
    assert {"UnknownWordCount0", "UnknownWordCount1"} <= weights.keys()
    assert report["systems"][-1]["test_bleu"] == pytest.approx(100) and "unknown_count=true adds" not in errors
    new = (tmp_path / "new").read_text().splitlines()
    for line in new:
        hypothesis = parse_line(line)
        assert hypothesis.features["UnknownWordCount0"] == (float("xqzzy" in line),)
    weights = "weights={UnknownWordCount0: -1}"
    rescore(f"checkpoints=[{folder / 'bad'}]", "test=list", weights, "unknown_count=true", "onebest=best")
    assert (tmp_path / "best").read_text().splitlines() == references
    rescore(
        f"checkpoints=[{folder / 'bad'}]", "test=list", weights.replace("-1", "1"), "unknown_count=true", "onebest=best"
    )
    assert all("xqzzy" in line for line in (tmp_path / "best").read_text().splitlines())
    scores = []
    for penalty in (0, 50):
        _, _, errors = rescore(
            f"checkpoints=[{folder / 'good'}]", "test=list", f"unknown_penalty={penalty}", "output=p"
        )
        assert ("unknown_count=true adds their number" in errors) == (penalty == 0)
        first = [parse_line(line) for line in (tmp_path / "p").read_text().splitlines()[:2]]
        scores.append([hypothesis.features["LanguageModel0"][0] for hypothesis in first])
    assert scores[1] == pytest.approx([scores[0][0] - 50, scores[0][1]], abs=1e-3)
    # If the hypotheses of each sentence have equal numbers of unknown words, these do not affect the order.
    (tmp_path / "equal").write_text("0 ||| w01 xqzzy ||| TM0= 0 ||| 0\n0 ||| xqzzy w02 ||| TM0= 1 ||| 0\n")
    _, _, errors = rescore(f"checkpoints=[{folder / 'good'}]", "test=equal", "output=p")
    assert "2 of 4 scored words are unknown" in errors and "unknown_count=true" not in errors
