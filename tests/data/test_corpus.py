"""Corpora: what they read, and the errors for text that cannot be read."""

import bz2
import gzip
import lzma
import zipfile

import datasets
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightrnn_pl.data.corpus import TextCorpus, split_words
from lightrnn_pl.data.dataset_corpus import DiskCorpus, HubCorpus
from lightrnn_pl.data.pydoc import PydocCorpus, sentences, split_of
from tests.data.file_server import serve

TEXT = "the cat sat\n\n on\tthe \u00a0mat  \nlast line without an end"
LINES = [["the", "cat", "sat"], [], ["on", "the", "mat"], ["last", "line", "without", "an", "end"]]


@pytest.fixture(autouse=True)
def _working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), max_size=8))
def test_splits_like_python(texts):
    assert split_words(pa.array(texts, pa.string())).to_pylist() == [text.split() for text in texts]


def test_missing_strings_have_no_words():
    assert split_words(pa.array([None, "a"], pa.string())).to_pylist() == [[], ["a"]]


def test_reads_text(tmp_path):
    (tmp_path / "train.txt").write_text(TEXT)
    corpus = TextCorpus("train.txt")
    corpus.check()
    assert list(corpus.lines("train")) == LINES
    assert corpus.has("train") and not corpus.has("valid")
    with pytest.raises(ValueError, match=r"no valid text; set data\.valid"):
        list(corpus.lines("valid"))


def test_ignores_byte_order_mark_and_windows_line_ends(tmp_path):
    (tmp_path / "train.txt").write_bytes(b"\xef\xbb\xbfone two\r\nthree\r\n")
    assert list(TextCorpus("train.txt").lines("train")) == [["one", "two"], ["three"]]


@pytest.mark.parametrize(("suffix", "opener"), [(".gz", gzip.open), (".bz2", bz2.open), (".xz", lzma.open)])
def test_decompresses(tmp_path, suffix, opener):
    with opener(tmp_path / f"train.txt{suffix}", "wt") as file:
        file.write(TEXT)
    corpus = TextCorpus(f"train.txt{suffix}")
    assert list(corpus.lines("train")) == LINES
    assert corpus.num_bytes("train") is None


def test_patterns_lists_and_root(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("b", "a", "c"):
        (tmp_path / "sub" / f"part-{name}.txt").write_text(f"{name}\n")
    (tmp_path / "odd[1].txt").write_text("odd\n")
    assert list(TextCorpus("sub/part-*.txt").lines("train")) == [["a"], ["b"], ["c"]]
    assert list(TextCorpus(["sub/part-c.txt", "sub/part-[ab].txt"]).lines("train")) == [["c"], ["a"], ["b"]]
    assert list(TextCorpus("odd[1].txt").lines("train")) == [["odd"]]
    assert list(TextCorpus("part-a.txt", root="sub").lines("train")) == [["a"]]
    assert list(TextCorpus(str(tmp_path / "odd[1].txt"), root="sub").lines("train")) == [["odd"]]


def test_fingerprint_changes_with_the_files(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text("one\n")
    before = TextCorpus("train.txt").fingerprint("train")
    assert TextCorpus(str(path)).fingerprint("train") == before
    path.write_text("another\n")
    assert TextCorpus("train.txt").fingerprint("train") != before


def test_reports_missing_files(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"data\.train=nowhere\.txt does not exist \(current working directory: /"
    ):
        TextCorpus("nowhere.txt").check()
    with pytest.raises(FileNotFoundError, match=r"no file matches data\.train=nothing-\*"):
        TextCorpus("nothing-*").check()
    with pytest.raises(FileNotFoundError, match="is a folder"):
        TextCorpus(str(tmp_path)).check()
    with pytest.raises(ValueError, match=r"data\.train is an empty list"):
        TextCorpus([]).check()


def test_rejects_an_empty_file(tmp_path):
    (tmp_path / "train.txt").touch()
    with pytest.raises(ValueError, match=r"data\.train: the file train\.txt is empty"):
        TextCorpus("train.txt").check()


@pytest.mark.parametrize("packed", [False, True])
def test_reports_the_position_of_invalid_utf8(tmp_path, packed):
    name = "bad.txt.gz" if packed else "bad.txt"
    with (gzip.open if packed else open)(tmp_path / name, "wb") as file:
        file.write("gut so, größer\n".encode() * 70000 + "größer\n".encode("latin-1") + b"fine\n")
    (tmp_path / "good.txt").write_text("good\n")
    with pytest.raises(ValueError, match=rf"data\.train: {name}, line 70001: byte 3 of the line is not UTF-8 \(0xf6"):
        list(TextCorpus(["good.txt", name]).lines("train"))


@pytest.mark.parametrize("name", ["wide.txt", "wide.txt.gz"])
def test_reports_utf16_without_a_byte_order_mark(tmp_path, name):
    with (gzip.open if name.endswith("gz") else open)(tmp_path / name, "wb") as file:
        file.write(b"plain words\n" * 2 + "wide words\n".encode("utf-16-le"))
    with pytest.raises(ValueError, match=rf"data\.train: {name}, line 3: byte 2 of the line is NUL.*UTF-16.*iconv"):
        list(TextCorpus(name).lines("train"))


def test_reports_a_truncated_archive(tmp_path):
    packed = gzip.compress(b"some words in a line\n" * 5000)
    (tmp_path / "cut.gz").write_bytes(packed[:-20])
    with pytest.raises(ValueError, match=r"cut\.gz is damaged or truncated"):
        list(TextCorpus("cut.gz").lines("train"))


@pytest.fixture
def saved(tmp_path):
    rows = datasets.Dataset.from_dict({"sentence": ["a b", "", "c"], "number": [1, 2, 3]})
    datasets.DatasetDict({"train": rows, "validation": rows.select([0])}).save_to_disk(tmp_path / "both")
    rows.save_to_disk(tmp_path / "one")


@pytest.mark.usefixtures("saved")
def test_reads_datasets_from_disk():
    corpus = DiskCorpus("both", "sentence", test=None)
    corpus.check()
    assert list(corpus.lines("train")) == [["a", "b"], [], ["c"]]
    assert list(corpus.lines("valid")) == [["a", "b"]]
    assert not corpus.has("test")
    assert corpus.fingerprint("train") != corpus.fingerprint("valid")
    alone = DiskCorpus("one", "sentence", valid=None, test=None)
    assert list(alone.lines("train")) == [["a", "b"], [], ["c"]]


@pytest.mark.usefixtures("saved")
def test_reports_missing_parts_of_a_dataset_on_disk(tmp_path):
    with pytest.raises(ValueError, match=r"no column data\.column=text; it has sentence, number"):
        DiskCorpus("both").check()
    with pytest.raises(ValueError, match=r"no split data\.test=test; it has train, validation"):
        DiskCorpus("both", "sentence").check()
    with pytest.raises(ValueError, match=r"has no splits.*data\.valid=null"):
        DiskCorpus("one", "sentence").check()
    with pytest.raises(FileNotFoundError, match=r"data\.path=nowhere does not exist"):
        DiskCorpus("nowhere").check()
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="was not written by save_to_disk"):
        DiskCorpus("folder").check()


def test_reads_data_files(tmp_path):
    rows = datasets.Dataset.from_dict({"sentence": ["a b", "c"]})
    rows.to_parquet(tmp_path / "rows.parquet")
    files = {"train": str(tmp_path / "rows.parquet")}
    options = {"data_files": files, "valid": None, "test": None}
    for streaming in (True, False):
        corpus = HubCorpus("parquet", column="sentence", streaming=streaming, **options)
        corpus.check()
        assert list(corpus.lines("train")) == [["a", "b"], ["c"]]
    with pytest.raises(ValueError, match=r"no column data\.column=words; it has sentence"):
        HubCorpus("parquet", column="words", **options).check()
    with pytest.raises(ValueError, match=r"data\.train=elsewhere cannot be read"):
        HubCorpus("parquet", column="sentence", train="elsewhere", **options).check()


@pytest.mark.parametrize("name", ["ptb.train.txt", "data/train", "news-*"])
def test_files_are_not_names_of_splits(name):
    with pytest.raises(
        ValueError, match=r"data\.train=.* is a file, .*; to read text files, use data=text data\.train="
    ):
        HubCorpus("parquet", train=name)
    HubCorpus("parquet", train="train+test[:10%]")


def test_reports_an_unreachable_hub(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ValueError, match=r"data\.id=some/thing.*cannot be reached.*HF_HUB_OFFLINE=1.*data=text"):
        HubCorpus("some/thing").check()


def test_sentences_of_documentation():
    text = "Return x[0], or don't!  See `foo_bar`.\nUse 3.11 or 2\n\n=====\n>>> f(**k)"
    assert list(sentences(text)) == [
        "return x [ N ] , or don't !",
        "see ` foo_bar ` .",
        "use N or N",
        ">>> f ( ** k )",
    ]


def test_split_of_documents():
    assert [split_of(f"module.f{i}") for i in range(200)].count("train") > 150
    assert {split_of(f"module.f{i}") for i in range(200)} == {"train", "valid", "test"}


def test_reads_pydoc():
    corpus = PydocCorpus()
    corpus.check()
    sizes = {split: sum(map(len, corpus.lines(split))) for split in ("train", "valid", "test")}
    assert 250_000 < sum(sizes.values()) < 1_000_000
    assert sizes["train"] > 0.8 * sum(sizes.values())
    assert min(sizes.values()) > 5_000
    assert corpus.fingerprint("train") == PydocCorpus().fingerprint("train") != corpus.fingerprint("test")


@pytest.mark.parametrize("train", ["missing.txt", "missing-*.txt"])
def test_a_missing_file_of_a_known_corpus_says_how_to_obtain_it(train, tmp_path):
    corpus = TextCorpus(train, root=str(tmp_path), instructions="unpack the archive and pass data.root=FOLDER")
    with pytest.raises(FileNotFoundError, match=rf"{tmp_path}.*; unpack the archive and pass data.root=FOLDER"):
        corpus.check()


def test_rejects_addresses_and_archives():
    with pytest.raises(
        ValueError, match=r"data\.valid=https://host/a\.txt is an address.*data=archive data\.archive=https:"
    ):
        TextCorpus("a.txt", "https://host/a.txt")
    with pytest.raises(ValueError, match=r"data\.root=https://host is an address"):
        TextCorpus("a.txt", root="https://host")
    for name in ("large.zip", "news.tar.gz"):
        with pytest.raises(
            ValueError, match=rf"data\.train={name} is an archive; use data=archive data\.archive={name}"
        ):
            TextCorpus(["a.txt", name])
        with pytest.raises(ValueError, match=rf"the archive https://host/{name}\?dl=1; use data=archive"):
            HubCorpus("text", data_files={"train": ["a.txt", f"https://host/{name}?dl=1"]})


def test_files_elsewhere_do_not_need_the_hub(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with zipfile.ZipFile(tmp_path / "large.zip", "w") as archive:
        archive.writestr("cs/train.txt", "a b\n")
        archive.writestr("de/train.txt", "c\n")
    with serve(files={"/large.zip": (tmp_path / "large.zip").read_bytes()}) as server:
        files = {"train": f"zip://cs/train.txt::{server.url}/large.zip"}
        corpus = HubCorpus("text", data_files=files, valid=None, test=None)
        corpus.check()
        assert list(corpus.lines("train")) == [["a", "b"]]
    for name in ("hf://datasets/a/b/c.parquet", "http://127.0.0.1:9/datasets/a/b/resolve/main/c.parquet"):
        with pytest.raises(ValueError, match=r"the Hugging Face hub at http://127\.0\.0\.1:9 cannot be reached"):
            HubCorpus("parquet", data_files={"train": name}, valid=None, test=None).check()
