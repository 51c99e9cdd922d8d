"""Unusual and damaged texts: each has its named error, before anything is built from it, or a stated behavior."""

import bz2
import gzip
import lzma
import os

import numpy as np
import pytest

from lightrnn_pl.data.corpus import TextCorpus
from lightrnn_pl.data.datamodule import CorpusDataModule
from lightrnn_pl.data.tokens import open_cache
from lightrnn_pl.vocabulary import VocabularyRules

LINES = b"a b\n" * 999
UTF8, COMPRESSED, NO_WORDS = "is (not UTF-8|NUL)", "is damaged or truncated", "contains no words"

REFUSED = {
    "an empty file": ("t.txt", b"", "is empty"),
    "line breaks only": ("t.txt", b"\n\n\r\n", NO_WORDS),
    "spaces only": ("t.txt", b"  \t\n \n", NO_WORDS),
    "Unicode spaces only": ("t.txt", "\u3000\u2003\u00a0\n".encode(), NO_WORDS),
    "Latin-1": ("t.txt", "grö\n".encode("latin-1"), UTF8),
    "Windows-1252": ("t.txt", "“a”\n".encode("cp1252"), UTF8),
    "Shift JIS": ("t.txt", "日本語\n".encode("shift_jis"), UTF8),
    "GB 18030": ("t.txt", "中文\n".encode("gb18030"), UTF8),
    "KOI8-R": ("t.txt", "русский\n".encode("koi8-r"), UTF8),
    "UTF-16 with a byte order mark": ("t.txt", "a b\n".encode("utf-16"), UTF8),
    "UTF-16 without a byte order mark": ("t.txt", "a b\n".encode("utf-16-le"), "NUL"),
    "UTF-16, big endian": ("t.txt", "a b\n".encode("utf-16-be"), "NUL"),
    "UTF-32": ("t.txt", "a b\n".encode("utf-32"), UTF8),
    "UTF-32 without a byte order mark": ("t.txt", "a b\n".encode("utf-32-be"), "NUL"),
    "a NUL": ("t.txt", b"a \0 b\n", "NUL"),
    "a truncated character": ("t.txt", b"a \xc3", UTF8),
    "an overlong character": ("t.txt", b"a \xc0\x80\n", UTF8),
    "an encoded surrogate": ("t.txt", b"a \xed\xa0\x80\n", UTF8),
    "a character beyond Unicode": ("t.txt", b"a \xf4\x90\x80\x80\n", UTF8),
    "an image": ("t.txt", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", UTF8),
    "random bytes": ("t.txt", np.random.default_rng(0).bytes(5000), UTF8),
    "a gzip file without suffix": ("t.txt", gzip.compress(LINES), UTF8),
    "garbage in .gz": ("t.gz", b"garbage", COMPRESSED),
    "plain text in .gz": ("t.gz", LINES, COMPRESSED),
    "a truncated .gz": ("t.gz", gzip.compress(LINES)[:-12], COMPRESSED),
    "a wrong checksum in .gz": ("t.gz", gzip.compress(LINES)[:-8] + bytes(8), COMPRESSED),
    "data after the end of .gz": ("t.gz", gzip.compress(LINES) + b"more", COMPRESSED),
    "nothing in .gz": ("t.gz", gzip.compress(b""), NO_WORDS),
    "Latin-1 in .gz": ("t.gz", gzip.compress(b"a \xf6\n"), UTF8),
    "garbage in .bz2": ("t.bz2", b"garbage", COMPRESSED),
    "a truncated .bz2": ("t.bz2", bz2.compress(LINES)[:-9], COMPRESSED),
    "nothing in .bz2": ("t.bz2", bz2.compress(b""), NO_WORDS),
    "garbage in .xz": ("t.xz", b"garbage", COMPRESSED),
    "a truncated .xz": ("t.xz", lzma.compress(LINES)[:-9], COMPRESSED),
    ".zst": ("t.zst", b"\x28\xb5\x2f\xfd", "compression of .*t.zst is not supported"),
    ".lz4": ("t.lz4", b"\x04\x22\x4d\x18", "compression of .*t.lz4 is not supported"),
    ".7z": ("t.7z", b"7z\xbc\xaf\x27\x1c", "compression of .*t.7z is not supported"),
}
"""Name of the file, content, and part of the error."""

ACCEPTED = {
    "no line break at the end": (b"a b\nc", [["a", "b"], ["c"]]),
    "Windows line breaks": (b"a b\r\nc\r\n", [["a", "b"], ["c"]]),
    "old Macintosh line breaks": (b"a b\rc\r", [["a", "b"], ["c"]]),
    "blank lines": (b"a\n\n \nb\n", [["a"], [], [], ["b"]]),
    "repeated spaces and tabs": (b" a \t b  \n", [["a", "b"]]),
    "a byte order mark inside": ("a\n\ufeffb\n".encode(), [["a"], ["\ufeffb"]]),
    "no-break space": ("a\u00a0b\n".encode(), [["a", "b"]]),
    "ideographic space": ("a\u3000b\n".encode(), [["a", "b"]]),
    "line separator": ("a\u2028b\u2029c\n".encode(), [["a", "b", "c"]]),
    "next line": ("a\u0085b\n".encode(), [["a", "b"]]),
    "vertical tab and form feed": (b"a\vb\fc\n", [["a", "b", "c"]]),
    "information separators": (b"a\x1cb\x1fc\n", [["a", "b", "c"]]),
    "zero-width space": ("a\u200bb\n".encode(), [["a\u200bb"]]),
    "composed and decomposed letters": ("é e\u0301\n".encode(), [["é", "e\u0301"]]),
    "right-to-left text": ("שלום مرحبا\n".encode(), [["שלום", "مرحبا"]]),
    "characters beyond the basic plane": ("😀 𝒜\n".encode(), [["😀", "𝒜"]]),
    "control characters": (b"a \x01 \x7f\n", [["a", "\x01", "\x7f"]]),
    "markers": (b"<unk> <eos> a <s>\n", [["<unk>", "<eos>", "a", "<s>"]]),
    "one word": (b"a", [["a"]]),
    "HTML": (b"<img src=x onerror=alert(1)>\n", [["<img", "src=x", "onerror=alert(1)>"]]),
}
"""Content and lines.  Lines end at \\n, \\r\\n and \\r; words are separated as by ``str.split``."""


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line_and_nothing_is_left(name, tmp_path):
    file, content, message = REFUSED[name]
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        open_cache(TextCorpus(str(tmp_path / file)), VocabularyRules(), tmp_path / "cache")
    assert "data.train" in str(caught.value) and "\n" not in str(caught.value)
    assert message in (NO_WORDS,) or file in str(caught.value)
    assert not [path for path in tmp_path.glob("cache/*") if path.is_dir()]


@pytest.mark.parametrize("name", ACCEPTED)
def test_read_as_stated(name, tmp_path):
    content, lines = ACCEPTED[name]
    for file, pack in (("t.txt", bytes), ("t.gz", gzip.compress), ("t.bz2", bz2.compress), ("t.xz", lzma.compress)):
        (tmp_path / file).write_bytes(pack(content))
        assert list(TextCorpus(str(tmp_path / file)).lines("train")) == lines
    cache = open_cache(TextCorpus(str(tmp_path / "t.txt")), VocabularyRules(), tmp_path / "cache")
    words = [cache.vocabulary.words[token] for token in cache.tokens("train")]
    assert words == [word for line in lines for word in (*line, "<eos>")]
    # A marker inside of the text is the same word as the marker that is added.
    assert cache.vocabulary.counts.sum() == len(words)


def test_a_byte_order_mark_is_removed(tmp_path):
    (tmp_path / "t.txt").write_bytes("\ufeffa b\n".encode())
    assert list(TextCorpus(str(tmp_path / "t.txt")).lines("train")) == [["a", "b"]]


@pytest.mark.parametrize("kind", ["missing", "folder", "pattern", "dangling link", "pipe", "device"])
def test_paths_that_are_no_files(kind, tmp_path):
    path = tmp_path / "t.txt"
    if kind == "folder":
        path.mkdir()
    elif kind == "dangling link":
        path.symlink_to("nowhere")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    name = str(path if kind != "pattern" else tmp_path / "t-*.txt")
    with pytest.raises(FileNotFoundError, match=r"data\.train=") as caught:
        open_cache(TextCorpus(name), VocabularyRules(), tmp_path / "cache")
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_a_very_long_line_and_a_very_long_word(tmp_path):
    (tmp_path / "t.txt").write_text("a " * 300_000 + "\n" + "b" * 300_000 + "\n")
    assert [len(line) for line in TextCorpus(str(tmp_path / "t.txt")).lines("train")] == [300_000, 1]


def test_an_error_names_the_file_of_several(tmp_path):
    (tmp_path / "good.gz").write_bytes(gzip.compress(LINES))
    (tmp_path / "bad.gz").write_bytes(gzip.compress(LINES)[:-12])
    with pytest.raises(ValueError, match=r"bad\.gz is damaged") as caught:
        list(TextCorpus([str(tmp_path / "good.gz"), str(tmp_path / "bad.gz")]).lines("train"))
    assert "good.gz" not in str(caught.value)


def test_texts_that_are_too_short_or_have_unknown_words(tmp_path):
    for split, text in (("train", "a b\n"), ("valid", "c\n")):
        (tmp_path / split).write_text(text)
    files = {"train": str(tmp_path / "train"), "valid": str(tmp_path / "valid"), "cache_dir": str(tmp_path / "cache")}
    with pytest.raises(ValueError, match="batch_size"):
        CorpusDataModule.from_text(**files).setup("fit")
    with pytest.raises(ValueError, match=r"data\.valid: the word 'c' is not in the vocabulary"):
        CorpusDataModule.from_text(**files, vocabulary=VocabularyRules(unknown=None)).setup()
