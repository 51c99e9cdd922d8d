"""Corpora in archives: the same lines as from unpacked files, on disk and from servers of every kind."""

import gzip
import io
import logging
import multiprocessing
import zipfile
from pathlib import Path

import pytest

from lightrnn_pl.data import remote_file
from lightrnn_pl.data.archive_corpus import ArchiveCorpus
from tests.data.archives import BENCHMARK, aclw_files, billionw_files, make_tar, make_zip
from tests.data.file_server import Fault, serve

ACLW, BILLIONW = aclw_files(), billionw_files()
ZIP, TAR = make_zip(ACLW), make_tar(BILLIONW)
SPLITS = ("train", "valid", "test")
CZECH = {split: f"cs/{split}.txt" for split in SPLITS}
NEWS = {
    "train": "training-monolingual.tokenized.shuffled/news.en-*-of-00100",
    "valid": "heldout-monolingual.tokenized.shuffled/news.en.heldout-00001-of-00050",
    "test": "heldout-monolingual.tokenized.shuffled/news.en.heldout-00000-of-00050",
}


@pytest.fixture(autouse=True)
def _working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(remote_file, "BACKOFF", 0.01)
    monkeypatch.setattr(remote_file, "TIMEOUT", 0.5)


@pytest.fixture
def server():
    with serve(files={"/large.zip": ZIP, "/news.tar.gz": TAR}) as state:
        yield state


def expected(files: dict[str, str], prefix: str) -> list[list[str]]:
    return [line.split() for name in sorted(files) if name.startswith(prefix) for line in files[name].splitlines()]


CZECH_LINES = {split: expected(ACLW, f"cs/{split}") for split in SPLITS}
NEWS_LINES = {
    "train": expected(BILLIONW, f"{BENCHMARK}/training"),
    "valid": expected(BILLIONW, f"{BENCHMARK}/heldout-monolingual.tokenized.shuffled/news.en.heldout-00001"),
    "test": expected(BILLIONW, f"{BENCHMARK}/heldout-monolingual.tokenized.shuffled/news.en.heldout-00000"),
}


def lines_of(corpus: ArchiveCorpus, splits=SPLITS) -> dict[str, list[list[str]]]:
    corpus.check()
    return {split: list(corpus.lines(split)) for split in splits}


def leftovers() -> list[str]:
    return [path.name for path in Path(".cache").rglob("*.part")]


@pytest.mark.parametrize("files", [ACLW, {f"large/{name}": text for name, text in ACLW.items()}])
def test_reads_only_the_members_of_a_zip_archive(files, tmp_path):
    (tmp_path / "large.zip").write_bytes(make_zip(files))
    corpus = ArchiveCorpus("large.zip", **CZECH)
    assert lines_of(corpus) == CZECH_LINES
    assert corpus.num_bytes("train") == len(ACLW["cs/train.txt"].encode())
    assert not (tmp_path / ".cache").exists()


@pytest.mark.parametrize("compression", ["", "gz", "bz2", "xz"])
def test_reads_tar_archives(compression, tmp_path):
    (tmp_path / "news").write_bytes(make_tar(BILLIONW, compression))
    corpus = ArchiveCorpus("news", **NEWS)
    assert lines_of(corpus) == NEWS_LINES
    assert corpus.num_bytes("train") is None
    # Without the archive, validation and test texts are read from the cache.
    assert lines_of(ArchiveCorpus("news", **NEWS), ("test",)) == {"test": NEWS_LINES["test"]}


def test_reads_compressed_members_lists_and_single_splits(tmp_path):
    files = {"data/b.txt.gz": gzip.compress(b"three\n"), "data/a.txt": b"one\ntwo\n", "data/.a.txt": b"hidden\n"}
    with zipfile.ZipFile("some.zip", "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    corpus = ArchiveCorpus("some.zip", ["b.txt.gz", "a.txt"])
    assert list(corpus.lines("train")) == [["one"], ["two"], ["three"]]
    assert corpus.num_bytes("train") is None
    assert list(ArchiveCorpus("some.zip", "*").lines("train")) == [["one"], ["two"], ["three"]]
    assert not corpus.has("valid")


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("ranges", [True, False])
def test_reads_archives_on_a_server(server, streaming, ranges, tmp_path):
    server.ranges = ranges
    for name, patterns, lines in (("large.zip", CZECH, CZECH_LINES), ("news.tar.gz", NEWS, NEWS_LINES)):
        corpus = ArchiveCorpus(f"{server.url}/{name}?dl=1", **patterns, streaming=streaming)
        assert lines_of(corpus) == lines
        server.files.clear() if not (streaming and ranges) else None
        assert lines_of(corpus) == lines  # from the download
        server.files.update({"/large.zip": ZIP, "/news.tar.gz": TAR})
    downloads = sorted(path.name.partition("-")[2] for path in (tmp_path / ".cache/lightrnn_pl/archives").glob("*-*"))
    assert ("large.zip" in downloads) == ("news.tar.gz" in downloads) == (not (streaming and ranges))
    assert leftovers() == []


def test_requests_only_the_member_of_a_zip_archive():
    content = make_zip(aclw_files(lines=10_000))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        start = archive.getinfo("es/test.txt").header_offset
    with serve(files={"/large.zip": content}) as server:
        corpus = ArchiveCorpus(f"{server.url}/large.zip", "es/test.txt")
        server.requests.clear()
        assert len(list(corpus.lines("train"))) == 20
    requested = [position for position in server.requests if 0 < position < start + 100]
    assert requested == [start]  # the other requests read the first bytes and the directory at the end


def test_streams_a_tar_archive_once_for_all_splits(server):
    corpus = ArchiveCorpus(f"{server.url}/news.tar.gz", **NEWS)
    corpus.fingerprint("train")
    server.requests.clear()
    for split in SPLITS:
        assert list(corpus.lines(split)) == NEWS_LINES[split]
    assert server.requests == [0]
    server.always = Fault(503)  # validation and test texts are in the cache
    corpus = ArchiveCorpus(f"{server.url}/news.tar.gz", **NEWS)
    assert list(corpus.lines("valid")) == NEWS_LINES["valid"]
    assert corpus.num_bytes("valid") == sum(len(" ".join(line)) + 1 for line in NEWS_LINES["valid"])


@pytest.mark.parametrize("name", ["large.zip", "news.tar.gz"])
@pytest.mark.parametrize("streaming", [True, False])
def test_survives_interruptions(server, name, streaming):
    patterns, lines = (CZECH, CZECH_LINES) if name == "large.zip" else (NEWS, NEWS_LINES)
    server.faults = [Fault(503), Fault(), Fault(cut=700), Fault(429), Fault(cut=300), Fault(cut=0), Fault(stall=2.0)]
    assert lines_of(ArchiveCorpus(f"{server.url}/{name}", **patterns, streaming=streaming)) == lines
    assert leftovers() == []


def test_downloads_again_without_ranges(server):
    server.ranges = False
    server.faults = [Fault(), Fault(), Fault(cut=700), Fault(cut=300)]
    assert lines_of(ArchiveCorpus(f"{server.url}/large.zip", **CZECH)) == CZECH_LINES
    assert leftovers() == []
    server.files["/other.zip"], server.always = ZIP, Fault(cut=700)
    with pytest.raises(ValueError, match=r"other\.zip: the connection was lost after 700 bytes .*; try again later"):
        ArchiveCorpus(f"{server.url}/other.zip", **CZECH).check()
    assert leftovers() == []


@pytest.mark.parametrize("name", ["large.zip", "news.tar.gz"])
def test_notices_a_truncated_download_of_unknown_size(server, name):
    server.ranges = server.sized = False
    server.faults = [Fault(), Fault(), Fault(cut=1_500)]
    patterns = CZECH if name == "large.zip" else NEWS
    with pytest.raises(ValueError, match=rf"{name} is damaged or truncated .*; delete \.cache/.*{name} and run again$"):
        list(ArchiveCorpus(f"{server.url}/{name}", **patterns).lines("train"))


def test_resumes_an_interrupted_download(server):
    server.faults, server.always = [Fault(), Fault(cut=5_000)], Fault(404)
    with pytest.raises(ValueError, match=r"data\.archive=http.*large\.zip: the server responds 404 Not Found; check"):
        ArchiveCorpus(f"{server.url}/large.zip", **CZECH, streaming=False).check()
    assert len(leftovers()) == 1
    server.always = Fault()
    server.requests.clear()
    assert lines_of(ArchiveCorpus(f"{server.url}/large.zip", **CZECH, streaming=False)) == CZECH_LINES
    assert server.requests == [0, 0, 5_000]  # the version, then the rest of the file
    assert leftovers() == []


def test_concurrent_processes_download_once(server):
    server.delay = 0.05
    context = multiprocessing.get_context("fork")

    def read():
        assert lines_of(ArchiveCorpus(f"{server.url}/news.tar.gz", **NEWS, streaming=False)) == NEWS_LINES

    processes = [context.Process(target=read) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert leftovers() == []
    assert len(server.requests) == 3 + 1  # each process requests the version, and one downloads the archive


def test_the_fingerprint_depends_on_the_content(server, tmp_path):
    def fingerprint(archive, **members):
        return ArchiveCorpus(archive, **{**CZECH, **members}).fingerprint("train")

    url = f"{server.url}/large.zip"
    before = fingerprint(url)
    assert fingerprint(url) == before != fingerprint(url, train="de/train.txt")
    server.version = "v2"
    assert fingerprint(url) != before
    (tmp_path / "large.zip").write_bytes(ZIP)
    local = fingerprint("large.zip")
    assert fingerprint(str(tmp_path / "large.zip")) == local
    (tmp_path / "large.zip").write_bytes(ZIP + b"x")
    assert fingerprint("large.zip") != local


def test_uses_a_download_if_the_server_is_unreachable(server, caplog):
    def corpus():
        return ArchiveCorpus(f"{server.url}/large.zip", **CZECH, streaming=False)

    before = corpus().fingerprint("train")
    assert lines_of(corpus()) == CZECH_LINES
    server.always = Fault(503)
    with caplog.at_level(logging.WARNING):
        assert lines_of(corpus()) == CZECH_LINES
        assert corpus().fingerprint("train") == before
    assert "responds 503 Service Unavailable after 5 retries; try again later; assuming that the file" in caplog.text
    with pytest.raises(ValueError, match=r"data\.archive=.*news\.tar\.gz: the server responds 503"):
        ArchiveCorpus(f"{server.url}/news.tar.gz", **NEWS).fingerprint("train")


def test_a_pass_that_ends_early_stores_nothing(server, tmp_path):
    lines = ArchiveCorpus(f"{server.url}/news.tar.gz", **NEWS).lines("train")
    next(lines)
    lines.close()
    assert leftovers() == []
    assert not list((tmp_path / ".cache").rglob("*-members"))


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (
            {"train": "cz/train.txt"},
            r"data\.train=cz/train\.txt matches no member of the archive; it has 18 files: cs/te",
        ),
        (
            {"train": "train.txt"},
            r"data\.train=train\.txt matches members in the folders cs and de .* data\.train=de/tr",
        ),
        ({"train": "*.txt"}, r"data\.train=\*\.txt matches members in the folders cs and de of the archive"),
        ({"train": ["cs/train.txt", "cs/none-*"]}, r"data\.train=cs/none-\* matches no member"),
    ],
)
def test_reports_wrong_members(patterns, message, tmp_path):
    (tmp_path / "large.zip").write_bytes(ZIP)
    with pytest.raises(ValueError, match=r"^data\.archive=large\.zip: " + message):
        ArchiveCorpus("large.zip", **patterns).check()
    (tmp_path / "large.tar").write_bytes(make_tar(ACLW, ""))
    with pytest.raises(ValueError, match=r"^data\.archive=large\.tar: " + message):
        list(ArchiveCorpus("large.tar", **patterns).lines("train"))


def test_all_languages_can_be_selected_explicitly(tmp_path):
    (tmp_path / "large.zip").write_bytes(ZIP)
    lines = list(ArchiveCorpus("large.zip", "*/valid.txt").lines("train"))
    assert lines == [
        line for language in ("cs", "de", "en", "es", "fr", "ru") for line in expected(ACLW, f"{language}/va")
    ]


@pytest.mark.parametrize("name", ["large.zip", "news.tar.gz"])
@pytest.mark.parametrize("damage", [slice(None, 2000), slice(None, -30)])
def test_reports_truncated_archives(name, damage, tmp_path):
    patterns, content = (CZECH, ZIP) if name == "large.zip" else (NEWS, TAR)
    (tmp_path / name).write_bytes(content[damage])
    with pytest.raises(ValueError, match=rf"{name}.* is damaged or truncated"):
        lines_of(ArchiveCorpus(name, **patterns))
    assert leftovers() == [] and not list(tmp_path.rglob("*-members"))


@pytest.mark.parametrize("pack", [make_zip, make_tar])
def test_splits_can_have_the_same_members(pack, tmp_path):
    (tmp_path / "archive").write_bytes(pack(ACLW))
    corpus = ArchiveCorpus("archive", train="cs/valid.txt", valid="cs/valid.txt", test="cs/*.txt")
    assert list(corpus.lines("train")) == list(corpus.lines("valid")) == CZECH_LINES["valid"]
    everything = {name: sorted(map(tuple, lines)) for name, lines in lines_of(corpus).items()}
    assert everything["test"] == sorted(tuple(line) for lines in CZECH_LINES.values() for line in lines)


def test_reports_a_tar_archive_that_ends_after_a_member(tmp_path):
    content = make_tar({"train.txt": "a b\n", "valid.txt": "c\n"}, "")
    (tmp_path / "news.tar").write_bytes(content[:2048])
    with pytest.raises(ValueError, match=r"news\.tar is damaged or truncated \(the end marker is missing\)"):
        list(ArchiveCorpus("news.tar", ["train.txt", "valid.txt"]).lines("train"))


def test_reports_a_damaged_member(tmp_path):
    content = bytearray(make_zip(ACLW))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        start = archive.getinfo("cs/train.txt").header_offset
    content[start + 200] ^= 0xFF
    (tmp_path / "large.zip").write_bytes(content)
    with pytest.raises(ValueError, match=r"large\.zip.* is damaged or truncated .*; obtain"):
        list(ArchiveCorpus("large.zip", **CZECH).lines("train"))


def test_reports_what_is_not_an_archive(server, tmp_path):
    server.files["/gone.zip"] = b"<!DOCTYPE html><title>This item was deleted</title>" * 9
    with pytest.raises(
        ValueError, match=r"gone\.zip: the file is neither a zip nor a tar archive; it begins with b'<!DOC"
    ):
        ArchiveCorpus(f"{server.url}/gone.zip", **CZECH).check()
    (tmp_path / "text.gz").write_bytes(gzip.compress(b"not a tar archive\n" * 100))
    with pytest.raises(ValueError, match=r"text\.gz is damaged or truncated|neither"):
        list(ArchiveCorpus("text.gz", "*").lines("train"))
    with pytest.raises(FileNotFoundError, match=r"data\.archive=none\.zip does not exist \(current working directory"):
        ArchiveCorpus("none.zip", **CZECH).check()
    with pytest.raises(FileNotFoundError, match=r"is a folder, not a file"):
        ArchiveCorpus(".", **CZECH).fingerprint("train")
    with pytest.raises(ValueError, match=r"data\.archive=s3://x/large\.zip must be a path or an address with http"):
        ArchiveCorpus("s3://x/large.zip", **CZECH)
    with pytest.raises(ValueError, match=r"data\.valid is an empty list"):
        ArchiveCorpus("large.zip", "cs/train.txt", [])


def test_reports_invalid_text_with_its_member(tmp_path):
    (tmp_path / "large.zip").write_bytes(make_zip({"cs/train.txt": "fine\n\0"}))
    with pytest.raises(ValueError, match=r"^data\.train: large\.zip, cs/train\.txt, line 2: byte 1 of the line is NUL"):
        list(ArchiveCorpus("large.zip", "cs/train.txt").lines("train"))
