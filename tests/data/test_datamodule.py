"""The token cache and the data module: counts, reuse of caches, protocols, and errors."""

import errno
import logging
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lightrnn_pl.data import indexed_lines, line_blocks
from lightrnn_pl.data import tokens as tokens_module
from lightrnn_pl.data.corpus import TextCorpus
from lightrnn_pl.data.datamodule import CorpusDataModule
from lightrnn_pl.data.indexed_lines import index_lines
from lightrnn_pl.data.tokens import WordCounter, open_cache
from lightrnn_pl.vocabulary import VocabularyRules

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.txt").write_text("the cat sat\n\nthe dog sat on the mat\n" * 50)
    (tmp_path / "valid.txt").write_text("the bird sat\n")
    (tmp_path / "test.txt").write_text("a mat on\n" * 5)


def create(**options):
    options = {"train": "train.txt", "valid": "valid.txt", "test": "test.txt", "cache_dir": "cache"} | options
    options["vocabulary"] = VocabularyRules(**options.pop("rules", {}))
    return CorpusDataModule.from_text(**{"batch_size": 2, "sequence_length": 5, "eval_batch_size": 3} | options)


def set_up(**options):
    module = create(**options)
    module.prepare_data()
    module.setup("fit")
    return module


def cache_names():
    return sorted(path.name for path in Path("cache").iterdir() if not path.name.startswith("."))


def targets_of(module, loader):
    return module.vocabulary.decode([t for batch in loader for t in batch.targets[batch.mask].tolist()])


@pytest.mark.parametrize("cache", [True, False])
def test_counts_and_reads(cache):
    module = set_up(cache=cache)
    assert module.num_tokens == {"train": 600, "valid": 4, "test": 20}
    assert module.vocabulary.words == ("<eos>", "the", "sat", "cat", "dog", "mat", "on", "<unk>")
    assert module.vocabulary.counts.tolist() == [150, 150, 100, 50, 50, 50, 50, 0]
    assert targets_of(module, module.val_dataloader()) == ["the", "<unk>", "sat", "<eos>"]
    for split, count in module.num_tokens.items():
        words = targets_of(module, module.evaluation_dataloader(split))
        assert len(words) == count
        assert words.count("<eos>") == len(list(module.corpus.lines(split)))
    assert len(targets_of(module, module.statistics_dataloader())) == 600
    assert len(targets_of(module, module.statistics_dataloader(window=3))) == 600
    assert len(list(module.train_dataloader())) == len(module.train_dataloader())


def test_training_tokens_are_the_same_without_a_cache():
    mapped, streamed = (set_up(cache=cache).training_tokens() for cache in (True, False))
    for _ in range(2):
        assert np.concatenate(list(streamed)).tolist() == mapped.tolist()


@pytest.mark.parametrize("batching", ["stream", "sentence"])
def test_begin_markers_are_not_targets(batching):
    module = set_up(rules={"begin": "<s>", "end": "</s>"}, batching=batching)
    assert module.num_tokens["train"] == 600
    assert module.vocabulary.counts[module.vocabulary.begin_id] == 150
    assert sorted(targets_of(module, module.val_dataloader())) == ["</s>", "<unk>", "sat", "the"]
    assert len(targets_of(module, module.evaluation_dataloader("train"))) == 600
    (batch, *_) = module.val_dataloader()
    assert batch.inputs[0, 0] == module.vocabulary.begin_id


def test_without_markers_all_tokens_are_words():
    module = set_up(rules={"end": None})
    assert module.num_tokens["train"] == 450
    assert "<eos>" not in module.vocabulary


def test_builds_the_cache_once(monkeypatch):
    first = set_up()
    monkeypatch.setattr(tokens_module, "_build", lambda *_: pytest.fail("the cache was built again"))
    second = set_up()
    second.setup("test")
    assert second.vocabulary.words == first.vocabulary.words
    assert second.num_tokens == first.num_tokens
    assert np.array_equal(second._opened.tokens("train"), first._opened.tokens("train"))


def test_cache_does_not_depend_on_threads_and_blocks(monkeypatch):
    contents = []
    for threads, block_bytes in ((1, 1 << 20), (4, 1 << 20), (4, 50)):
        monkeypatch.setattr(indexed_lines, "_MAX_THREADS", threads)
        monkeypatch.setattr(line_blocks, "BLOCK_BYTES", block_bytes)
        folder = set_up(cache_dir=f"cache-{threads}-{block_bytes}")._opened.folder
        contents.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert contents[0] == contents[1] == contents[2]


def test_cache_depends_on_files_and_rules(tmp_path):
    set_up()
    set_up(rules={"min_count": 60})
    assert len(cache_names()) == 2
    (tmp_path / "test.txt").write_text("changed\n")
    assert set_up().num_tokens["test"] == 2
    assert len(cache_names()) == 3


@pytest.mark.parametrize("damage", ["meta.json", "train.bin", "vocabulary"])
def test_rebuilds_a_damaged_cache(damage):
    expected = set_up()._opened.tokens("train").tolist()
    (name,) = cache_names()
    (Path("cache") / name / damage).write_bytes(b"x")
    assert set_up()._opened.tokens("train").tolist() == expected


def test_interrupted_run_leaves_no_cache(monkeypatch):
    def die(*_):
        os._exit(9)

    def build_and_die():
        monkeypatch.setattr(tokens_module, "write_json", die)
        set_up()

    process = multiprocessing.get_context("fork").Process(target=build_and_die)
    process.start()
    process.join(60)
    assert process.exitcode == 9
    assert cache_names() == []
    assert set_up().num_tokens["train"] == 600
    assert len(cache_names()) == 1
    assert not list(Path("cache").glob(".*.part"))


def test_concurrent_runs_build_one_cache():
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=set_up) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert len(cache_names()) == 1


def test_reports_a_full_disk(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tokens_module, "_write", full)
    with pytest.raises(OSError, match=r"no space left while writing cache/.*paths\.cache_dir"):
        set_up()
    assert not list(Path("cache").glob(".*.part")) and cache_names() == []


def test_reports_an_unwritable_cache_folder():
    Path("taken").touch()
    for cache_dir in ("taken", "taken/inside"):
        with pytest.raises(OSError, match=r"cannot write taken/.*choose another folder \(paths\.cache_dir"):
            set_up(cache_dir=cache_dir)


def test_does_not_blame_the_cache_for_an_unreadable_text(monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied", "secret.txt")

    monkeypatch.setattr(tokens_module, "_write", refuse)
    with pytest.raises(PermissionError, match=r"Permission denied: 'secret\.txt'$"):
        set_up()


def test_counts_more_words_than_the_initial_buffer(monkeypatch):
    Path("many.txt").write_text("\n".join(f"w{i} w{i // 2}" for i in range(70_000)))
    module = set_up(train="many.txt", valid=None, test=None)
    assert module.num_tokens == {"train": 210_000}
    assert len(module.vocabulary) == 70_002
    assert module.vocabulary.counts.sum() == 210_000
    assert module.vocabulary.decode(module._opened.tokens("train")[-3:]) == ["w69999", "w34999", "<eos>"]


def test_loaders_of_missing_splits():
    module = set_up(valid=None, test=None)
    assert module.val_dataloader() == [] == module.test_dataloader()
    with pytest.raises(ValueError, match=r"no test text; set data\.test"):
        module.evaluation_dataloader("test")


@pytest.mark.parametrize("cache", [True, False])
def test_reports_unreadable_text_before_training(tmp_path, cache):
    (tmp_path / "test.txt").write_bytes(b"fine\nb\xe4d\n")
    with pytest.raises(ValueError, match=r"data\.test: test\.txt, line 2"):
        set_up(cache=cache)
    (tmp_path / "test.txt").write_text(" \n\n")
    with pytest.raises(ValueError, match=r"data\.test contains no words"):
        set_up(cache=cache)
    (tmp_path / "test.txt").write_text("")
    with pytest.raises(ValueError, match=r"the file test\.txt is empty"):
        set_up(cache=cache)


@pytest.mark.parametrize("cache", [True, False])
def test_unseen_words_require_an_unknown_word(cache):
    with pytest.raises(ValueError, match=r"data\.valid: the word 'bird' is not in the vocabulary"):
        set_up(rules={"unknown": None}, cache=cache)


@pytest.mark.parametrize("cache", [True, False])
def test_rejects_a_sequence_longer_than_a_stream(cache):
    with pytest.raises(
        ValueError, match=r"600 tokens split into 2 streams leave 300 tokens per stream.*data\.sequence_length=301"
    ):
        set_up(sequence_length=301, cache=cache)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sequence_length": 0}, r"data\.sequence_length must be an integer greater than or equal to 1, got 0"),
        ({"batch_size": 0}, r"data\.batch_size .*must be an integer greater than or equal to 1, got 0"),
        ({"eval_batch_size": -1}, r"must be an integer greater than or equal to 1, got -1"),
        ({"batching": "lines"}, r"data\.batching must be stream or sentence, got 'lines'"),
        ({"batching": "sentence", "cache": False}, r"needs data\.cache=true"),
    ],
)
def test_rejects_invalid_settings(options, message):
    with pytest.raises(ValueError, match=message):
        create(**options)


@pytest.mark.parametrize(
    ("build", "options", "message"),
    [
        (
            CorpusDataModule.from_text,
            {"train": "a", "column": "text"},
            r"^data\.column is not a valid key of TextCorpus",
        ),
        (
            CorpusDataModule.from_pydoc,
            {"bogus": 1},
            r"^data\.bogus is not a valid key of PydocCorpus; use batch_size, ",
        ),
        (CorpusDataModule.from_hub, {}, r"^data\.id is required by HubCorpus; set it$"),
        (CorpusDataModule.from_archive, {"train": "a"}, r"^data\.archive is required by ArchiveCorpus; set it$"),
        (CorpusDataModule.from_disk, {"column": "text"}, r"^data\.path is required by DiskCorpus; set it$"),
    ],
)
def test_rejects_unknown_and_missing_keys(build, options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_requires_setup():
    with pytest.raises(RuntimeError, match="call prepare_data"):
        _ = create().vocabulary


def test_compares_sizes_with_those_of_the_paper(caplog):
    expected = {"tokens": 601, "vocabulary": 16, "source": "Some Paper, Table 1"}
    with caplog.at_level(logging.INFO, logger="lightrnn_pl"):
        module = set_up(expected=expected)
    report = module.check_expected()
    assert report["tokens"] == {"read": 600, "stated": 601, "difference_percent": -0.17}
    assert report["vocabulary"]["difference_percent"] == -50.0
    warnings = [
        text for text in map(logging.LogRecord.getMessage, caplog.records) if "states" in text and "-50" in text
    ]
    assert warnings and all("vocabulary 8, Some Paper, Table 1 states 16 (-50.0 %)" in text for text in warnings)
    assert set_up().check_expected() == {}


def test_warns_of_unknown_words_whose_probability_is_not_trained(tmp_path, caplog):
    files = {}
    for split, text in (("train", "a b a b c\n"), ("valid", "a b zz\n"), ("test", "a b c\n")):
        files[split] = str(tmp_path / f"{split}.txt")
        Path(files[split]).write_text(text)

    def warnings_with(**rules):
        caplog.clear()
        module = CorpusDataModule.from_text(
            **files, vocabulary=VocabularyRules(**rules), batch_size=1, sequence_length=2, cache_dir=str(tmp_path / "c")
        )
        module.prepare_data()
        module.setup("validate")
        return module.check_unknown_words(), [record.getMessage() for record in caplog.records]

    shares, messages = warnings_with()
    assert shares == {"valid": 0.25} and all("25 % of the valid text are unknown words" in text for text in messages)
    assert messages and "set data.vocabulary.min_count=2" in messages[0]
    assert warnings_with(min_count=2) == ({}, [])


def test_protocol_describes_what_is_counted():
    protocol = set_up(rules={"begin": "<s>"}, batching="sentence").protocol()
    assert protocol["end_marker"] == "<eos>" and protocol["end_marker_counted"]
    assert protocol["begin_marker"] == "<s>" and not protocol["begin_marker_counted"]
    assert protocol["state"] == "from zero at every line"
    assert protocol["eval_streams"] == 3
    assert protocol["tokens"]["test"] == 20


@pytest.mark.exhaustive  # the scripts of multirun_scripts read it, too
def test_reads_pydoc():
    module = CorpusDataModule.from_pydoc(cache_dir="cache", vocabulary=VocabularyRules(min_count=2))
    module.prepare_data()
    module.setup()
    assert 4_000 < len(module.vocabulary) < 15_000
    assert module.num_tokens["train"] > 250_000


def test_counter_counts_markers_of_lines_and_in_text():
    counter = WordCounter(VocabularyRules(begin="<s>"))
    lines = index_lines(pa.array(["a <unk>", "", "<s> a"]), begin=True, end=True)
    ids = counter.encode(lines)
    assert counter.counts() == {"<unk>": 1, "<s>": 4, "<eos>": 3, "a": 2}
    assert lines.lengths.tolist() == [4, 2, 4]
    assert ids.tolist() == [1, 3, 0, 2, 1, 2, 1, 1, 3, 2]


def requires_corpus(corpus):
    path = SHARED / corpus / "train.txt"
    return pytest.mark.skipif(not path.exists(), reason=f"the corpus {corpus} is not available next to this checkout")


@pytest.mark.parametrize(
    ("corpus", "tokens", "vocabulary"),
    [
        pytest.param("ptb", 929_589, 10_000, marks=requires_corpus("ptb")),
        pytest.param("wikitext2", 2_088_628, 33_278, marks=requires_corpus("wikitext2")),
        # 309,046 words, <eos> and <unk>.
        pytest.param("eltec/cs", 6_570_404, 309_048, marks=[requires_corpus("eltec/cs")]),
    ],
)
def test_sizes_of_known_corpora(corpus, tokens, vocabulary):
    folder = SHARED / corpus
    cache = open_cache(TextCorpus(str(folder / "train.txt")), VocabularyRules(), "cache")
    assert cache.num_tokens["train"] == tokens
    assert len(cache.vocabulary) == vocabulary
    assert cache.vocabulary.counts.sum() == tokens
    with (folder / "train.txt").open(encoding="utf-8") as file:
        expected = [word for _ in range(20) for word in [*next(file).split(), "<eos>"]]
    assert cache.vocabulary.decode(cache.tokens("train")[: len(expected)]) == expected


def test_raw_text_is_tokenized():
    Path("train.txt").write_text("They don't sit.\n\nThe firm's 3 shares fell 5%.\n" * 50)
    Path("valid.txt").write_text("The 4 boys' toys\n")
    module = set_up(tokenizer="ptb")
    assert targets_of(module, module.train_dataloader())[:5] == ["they", "do", "n't", "sit", "<eos>"]
    assert targets_of(module, module.val_dataloader()) == ["the", "N", "<unk>", "<unk>", "<unk>", "<eos>"]
    assert module.protocol()["tokenizer"] == "ptb"
    assert set_up().vocabulary.words != module.vocabulary.words  # another tokenizer does not reuse the cache
    uncached = set_up(tokenizer="ptb", cache=False)
    assert uncached.vocabulary.words == module.vocabulary.words and uncached.num_tokens == module.num_tokens


def test_text_that_is_tokenized_by_default_is_read_directly():
    assert isinstance(create().corpus, TextCorpus)
    with pytest.raises(ValueError, match=r"^data\.tokenizer must be .*, got 'bpe'$"):
        create(tokenizer="bpe")
