"""N-best lists in Moses format: parsing, round trips, malformed lines, and streaming by sentence."""

import gzip
import io
import itertools
import sys

import pytest

from lightrnn_pl.inference.text_lines import byte_lines, text_lines, write_lines
from lightrnn_pl.rescoring.feature_layout import FeatureLayout
from lightrnn_pl.rescoring.nbest_lists import MalformedLines, parse_features, parse_line, read_nbest

LINE = "3 ||| the cat , sat ||| LexicalReordering0= -1.2 0 0 Distortion0= 0 LM0= -12.5 ||| -0.73 ||| 0-0 1-1"


def read(*lines: str | bytes, layout: FeatureLayout | None = None):
    messages: list[str] = []
    malformed = MalformedLines(messages.append)
    encoded = [line if isinstance(line, bytes) else line.encode() for line in lines]
    return list(read_nbest(encoded, malformed, layout)), malformed, messages


def test_parses_a_line_and_writes_it_back():
    hypothesis = parse_line(LINE)
    assert (hypothesis.sentence, hypothesis.text, hypothesis.score) == (3, "the cat , sat", -0.73)
    assert hypothesis.features == {"LexicalReordering0": (-1.2, 0, 0), "Distortion0": (0,), "LM0": (-12.5,)}
    assert hypothesis.line() == LINE
    hypothesis.add_feature("New0", -1.23456789)
    assert hypothesis.features["New0"] == (-1.234568,)
    assert hypothesis.line(0.5) == LINE.replace("LM0= -12.5 ||| -0.73", "LM0= -12.5 New0= -1.234568 ||| 0.5")
    assert parse_line(hypothesis.line(0.5)).features == hypothesis.features


def test_parses_unusual_lines():
    assert parse_line("0 |||  |||  ||| 0").text == ""
    assert parse_line("0|||a b|||A=|||1".replace("A=", "A= 1")).features == {"A": (1,)}
    assert parse_features("A=1.5 B= 2e-3 -4") == {"A": (1.5,), "B": (0.002, -4)}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "empty line"),
        ("a b", "got 1"),
        ("0 ||| a ||| A= 1", "got 3"),
        ("x ||| a ||| A= 1 ||| 1", "sentence id 'x'"),
        ("-1 ||| a ||| A= 1 ||| 1", "sentence id '-1'"),
        ("0 ||| a ||| A= 1 ||| best", "score: 'best'"),
        ("0 ||| a ||| A= 1 ||| nan", "score: 'nan'"),
        ("0 ||| a ||| A= one ||| 1", "A: 'one'"),
        ("0 ||| a ||| A= inf ||| 1", "A: 'inf'"),
        ("0 ||| a ||| 1 A= 1 ||| 1", "'1' has no name"),
        ("0 ||| a ||| A= B= 1 ||| 1", "'A' has no value"),
        ("0 ||| a ||| B= 1 A= ||| 1", "'A' has no value"),
        ("0 ||| a ||| A= 1 A= 2 ||| 1", "'A' is duplicated"),
    ],
)
def test_rejects_malformed_lines(line, reason):
    with pytest.raises(ValueError, match=reason):
        parse_line(line)


def test_skips_malformed_lines_and_reports_their_numbers():
    good = [f"{sentence} ||| h{sentence} ||| A= 1 2 ||| 0" for sentence in (0, 0, 2, 7)]
    lines = [good[0], "rubbish", good[1], b"1 ||| \xff ||| A= 1 2 ||| 0", good[2], "2 ||| x ||| A= 1 ||| 0", good[3]]
    groups, malformed, messages = read(*lines, layout=FeatureLayout())
    assert [[hypothesis.sentence for hypothesis in group] for group in groups] == [[0, 0], [2], [7]]
    assert malformed.count == 3 and malformed.numbers == [2, 4, 6]
    assert [message.split()[1] for message in messages] == ["2", "4", "6"]
    assert "not UTF-8" in messages[1] and "'A' has 1 values, but 2" in messages[2]


def test_new_features_have_the_most_common_size():
    lines = [f"0 ||| h ||| A= {values} ||| 0" for values in ("1", "1 2", "3 4", "5 6 7")]
    layout = FeatureLayout()
    (group,), malformed, messages = read(*lines, "1 ||| h ||| A= 1 ||| 0", layout=layout)
    assert [hypothesis.features["A"] for hypothesis in group] == [(1, 2), (3, 4)] and layout.sizes == {"A": 2}
    assert malformed.numbers == [1, 4, 5] and "'A' has 1 values, but 2 in other lines" in messages[0]


@pytest.mark.parametrize(
    ("sentences", "skipped", "kept"),
    [
        ((0, 0, 777, 0, 1), [3], [[0, 0, 0], [1]]),
        ((0, 777, 1, 2), [2], [[0], [1], [2]]),
        ((3, 3, 0, 4), [3], [[3, 3], [4]]),
        ((1, 2, 20, 2, 5, 0, 5), [3, 6], [[1], [2, 2], [5, 5]]),
        ((0, 0, 777), [], [[0, 0], [777]]),
    ],
)
def test_skips_a_line_with_a_damaged_sentence_number(sentences, skipped, kept):
    groups, malformed, messages = read(*(f"{sentence} ||| h ||| A= 1 ||| 0" for sentence in sentences))
    assert [[hypothesis.sentence for hypothesis in group] for group in groups] == kept
    assert malformed.numbers == skipped and all("is out of place between sentences" in message for message in messages)


def test_reports_only_the_first_malformed_lines():
    _, malformed, messages = read(*["rubbish"] * 50, "0 ||| a ||| A= 1 ||| 1")
    assert malformed.count == 50 and len(messages) == len(malformed.numbers) == 20


@pytest.mark.parametrize(
    ("sentences", "line"), [((0, 1, 1, 0), 4), ((0, 1, 0, 1, 0), 5), ((0, 0, 2, 2, 1, 1), 5), ((1, 0), 2)]
)
def test_rejects_sentences_out_of_order(sentences, line):
    lines = [f"{sentence} ||| h ||| A= 1 ||| 0" for sentence in sentences]
    with pytest.raises(ValueError, match=rf"line {line}: sentence . comes after sentence ..*sort -s -n -k 1,1"):
        read(*lines)


def test_reads_at_most_one_sentence_ahead():
    endless = (f"{number // 3} ||| h ||| A= 1 ||| 0".encode() for number in itertools.count())
    groups = read_nbest(endless, MalformedLines())
    assert [next(groups)[0].sentence for _ in range(5)] == [0, 1, 2, 3, 4]
    assert next(endless).startswith(b"5 ")


def test_lines_round_trip_with_and_without_compression(tmp_path):
    lines = ["a b", "", "naïve\u2028one line", "d\x0be"]
    for name in ("plain.txt", "packed.txt.gz"):
        with write_lines(tmp_path / name) as file:
            file.write("".join(f"{line}\n" for line in lines).encode())
        assert list(text_lines(tmp_path / name)) == lines
    assert gzip.decompress((tmp_path / "packed.txt.gz").read_bytes()) == (tmp_path / "plain.txt").read_bytes()
    (tmp_path / "dos.txt").write_bytes(b"\xef\xbb\xbfa\r\nb")
    assert list(text_lines(tmp_path / "dos.txt")) == ["a", "b"]


def test_reports_unreadable_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        list(byte_lines(tmp_path / "nowhere"))
    (tmp_path / "bad.txt").write_bytes(b"good\n\xff\n")
    with pytest.raises(ValueError, match=r"bad\.txt, line 2: not UTF-8"):
        list(text_lines(tmp_path / "bad.txt"))
    with write_lines(tmp_path / "whole.gz") as file:
        file.write(b"some text\n" * 1000)
    (tmp_path / "cut.gz").write_bytes((tmp_path / "whole.gz").read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"cut\.gz is damaged or truncated"):
        list(byte_lines(tmp_path / "cut.gz"))


def test_failed_write_leaves_no_file(tmp_path):
    for name in ("a.txt", "a.gz"):
        with pytest.raises(RuntimeError), write_lines(tmp_path / name) as file:
            file.write(b"half")
            raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_a_terminal_is_told_what_is_expected(monkeypatch, capsys):
    terminal = io.TextIOWrapper(io.BytesIO(b"a b\nc\n"))
    monkeypatch.setattr(sys, "stdin", terminal)
    assert list(byte_lines("-")) == [b"a b", b"c"] and capsys.readouterr().err == ""
    terminal.buffer.seek(0)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    assert list(byte_lines("-")) == [b"a b", b"c"]
    assert capsys.readouterr().err == "reading standard input; end with Ctrl-D\n"
