"""``lightrnn-score``: one output line for each line of a stream."""

import gzip
import io
import json
import os
import subprocess
import sys

import pytest

from lightrnn_pl import load
from lightrnn_pl.cli.entry_points import score as main
from tests.ngrams.test_arpa import SMALL
from tests.scripts import heavy_imports

TEXT = "w01 w02 w07\n\nnever seen w01\nw05\n"


@pytest.fixture
def score(trained, tmp_path, monkeypatch, capsys):
    """Runs the command in this process; returns the lines of standard output, and standard error."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")

    def run(*arguments: str, checkpoint=trained, stdin: bytes = b""):
        monkeypatch.setattr(sys, "argv", ["lightrnn-score", f"checkpoint={checkpoint}", "device=cpu", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        main()
        captured = capsys.readouterr()
        return captured.out.splitlines(), captured.err

    return run


def expected(trained) -> list[float]:
    return [sum(scores) for scores in load(trained).score(TEXT.splitlines())]


def test_scores_each_line_in_order(trained, score):
    lines, errors = score("text=text.txt")
    assert [line.split("\t", 1)[1] for line in lines] == TEXT.splitlines()
    assert [float(line.split("\t")[0]) for line in lines] == pytest.approx(expected(trained), abs=1e-4)
    assert "lines: 4, each scored from a fresh state; 7 words and 4 end markers" in errors
    assert "unknown words: 2, 28.57% of the words, scored as <unk>" in errors
    assert score("text=-", stdin=TEXT.encode())[0] == score("buffer=1", stdin=TEXT.encode())[0]


def test_n_grams_score_lines_like_lightrnn_ngram(score, tmp_path):
    (tmp_path / "small.arpa").write_text(SMALL)
    lines, errors = score("text=-", checkpoint="small.arpa", stdin=b"a b\nx\n")
    assert lines == ["-2.878231\ta b", "-4.605170\tx"]
    assert "perplexity 4.47" in errors and "unknown words: 1, 33.33% of the words, scored as <unk>" in errors


def test_totals_of_one_word(score):
    assert "; 1 word and 1 end marker; " in score("text=-", stdin=b"w01\n")[1]


def test_json_contains_each_word(trained, score, tmp_path):
    (tmp_path / "text.txt.gz").write_bytes(gzip.compress(TEXT.encode()))
    assert score("text=text.txt.gz", "output=scores.jsonl", "format=json")[0] == []
    lines = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    assert [line["line"] for line in lines] == TEXT.splitlines()
    assert [line["log_probability"] for line in lines] == pytest.approx(expected(trained), abs=1e-4)
    for line, scores in zip(lines, load(trained).score(TEXT.splitlines()), strict=True):
        words, log_probabilities, known = zip(*line["words"], strict=True)
        assert list(words) == [*line["line"].split(), "<eos>"]
        assert log_probabilities == pytest.approx(scores, abs=1e-5)
        assert list(known) == [word not in ("never", "seen") for word in words]


def test_kaldi_lists_have_one_loss_per_word(trained, score, tmp_path):
    keys = ["en_4156-A_1-1", "en_4156-A_1-2", "utt2-1", "utt3-1"]
    kaldi = "".join(f"{key} {line}".rstrip() + "\n" for key, line in zip(keys, TEXT.splitlines(), strict=True))
    (tmp_path / "words_text").write_text(kaldi)
    for buffer in ("buffer=4096", "buffer=1"):
        lines, errors = score("text=words_text", "format=kaldi", buffer)
        assert [line.split(" ")[0] for line in lines] == keys
        for line, scores in zip(lines, load(trained).score(TEXT.splitlines()), strict=True):
            assert [-float(loss) for loss in line.split(" ")[1:]] == pytest.approx(scores, abs=1e-5)
        assert "7 words and 4 end markers" in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["text=nowhere.txt"], "the text file nowhere.txt does not exist"),
        (["text=bad.txt"], "bad.txt, line 2: not UTF-8"),
        (["format=xml"], "format must be tsv, json or kaldi, got 'xml'"),
        (["text=text.txt", "format=kaldi"], "line 2 is empty; with format=kaldi, each line is a key followed by words"),
        (["batch_size=0"], "batch_size must be an integer greater than or equal to 1"),
        (["text=text.txt", "output=text.txt"], "output=text.txt is already used for another input or output file"),
        (["output=."], "output=. is a folder"),
    ],
)
def test_errors_are_one_line(score, tmp_path, capsys, arguments, message):
    (tmp_path / "bad.txt").write_bytes(b"w01\n\xff\n")
    with pytest.raises(SystemExit) as end:
        score(*arguments)
    errors = capsys.readouterr().err
    assert end.value.code == 2 and f"error: {message}" in errors and "Traceback" not in errors
    assert (tmp_path / "text.txt").read_text() == TEXT


def test_rejects_closed_streams(score, monkeypatch, capsys):
    for stream, arguments, message in (
        ("stdin", ["output=out.tsv"], "error: standard input is closed"),
        ("stdout", ["text=text.txt"], "error: standard output is closed; pass output=FILE"),
    ):
        with monkeypatch.context() as changed:
            changed.setattr(io, "TextIOWrapper", lambda *_: None)
            changed.setattr(sys, stream, None)
            with pytest.raises(SystemExit) as end:
                score(*arguments)
        assert end.value.code == 2 and message in capsys.readouterr().err


def test_writes_each_line_before_reading_the_next(trained, commands, tmp_path):
    command = [commands / "lightrnn-score", f"checkpoint={trained}", "buffer=1"]
    process = subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    for line in ("w01 w02\n", "w05\n"):
        process.stdin.write(line)
        process.stdin.flush()
        assert process.stdout.readline().split("\t")[1] == line
    process.stdin.close()
    assert process.wait(60) == 0


def test_an_error_leaves_no_output_file(score, tmp_path, capsys):
    (tmp_path / "bad.txt").write_bytes(b"w01\n\xff\n")
    with pytest.raises(SystemExit):
        score("text=bad.txt", "output=out.tsv", "buffer=1")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.txt", "text.txt"]


def test_stops_quietly_when_the_reader_closes_the_pipe(trained, commands, tmp_path):
    (tmp_path / "long.txt").write_text("w01 w02 w03\n" * 20_000)
    command = [commands / "lightrnn-score", f"checkpoint={trained}", "text=long.txt"]
    done = subprocess.run(
        ["bash", "-c", 'set -o pipefail; "$@" | head -n 2', "bash", *command],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 2


def test_help_does_not_import_torch(tmp_path):
    for name in ("score", "rescore"):
        script = heavy_imports(name, "--help", packages=("torch", "sacrebleu"))
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert f"usage: lightrnn-{name}" in done.stdout and "HEAVY []" in done.stdout, done.stderr


def test_a_penalty_lowers_the_score_of_unknown_words(trained, score):
    before, errors = score("text=text.txt", "format=json")
    after, errors_after = score("text=text.txt", "format=json", "unknown_penalty=7.5")
    for line, penalized in zip(map(json.loads, before), map(json.loads, after), strict=True):
        words = zip(line["words"], penalized["words"], strict=True)
        assert all(two[1] == pytest.approx(one[1] - 7.5 * (not one[2])) for one, two in words)
        assert penalized["log_probability"] == pytest.approx(sum(word[1] for word in penalized["words"]))
    assert errors == errors_after, "the perplexity is that of the model"
    with pytest.raises(SystemExit):
        score("text=text.txt", "unknown_penalty=-1")


def test_lines_are_tokenized_on_request(trained, score):
    """The lines are printed as they were read."""
    tokenized, _ = score("format=json", stdin=b"w01 w02\n")
    raw, _ = score("format=json", "tokenizer=ptb", stdin=b"W01, (W02).\n")
    assert json.loads(raw[0]) == {**json.loads(tokenized[0]), "line": "W01, (W02)."}
    assert score("tokenizer=ptb", stdin=b"W01, (W02).\n")[0][0].endswith("\tW01, (W02).")
