"""The ``LightningDataModule`` of a corpus: token cache, vocabulary, and loaders for training and evaluation."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray
from typing_extensions import override

from lightrnn_pl.checks import check_choice, check_count, check_seed
from lightrnn_pl.data.archive_corpus import ArchiveCorpus
from lightrnn_pl.data.batches import Loader, SentenceBatches, StreamBatches, check_sizes, check_streams
from lightrnn_pl.data.corpus import SPLITS, Corpus, TextCorpus
from lightrnn_pl.data.dataset_corpus import DiskCorpus, HubCorpus
from lightrnn_pl.data.pydoc import PydocCorpus
from lightrnn_pl.data.streaming import UncachedBatches, chunks
from lightrnn_pl.data.tokenized_corpus import TokenizedCorpus
from lightrnn_pl.data.tokens import TokenCache, TokenStream, WordCounter, WordEncoder, encoded_blocks, open_cache
from lightrnn_pl.tokenization import tokenizer_named
from lightrnn_pl.vocabulary import Vocabulary, VocabularyRules

logger = logging.getLogger(__name__)

_TOLERATED_PERCENT = 5.0
"""Deviation from the corpus sizes reported in a paper above which a warning is logged."""


class CorpusDataModule(pl.LightningDataModule):
    """A corpus, the vocabulary of its training split, and its batches.

    ``vocabulary`` and ``num_tokens`` are available after ``setup``.

    Args:
        corpus: The text.
        vocabulary: The rules that select the vocabulary; None for the defaults.
        batch_size: Number of streams (or lines) that each process reads in parallel in training.
        sequence_length: T, the number of words per window.
        eval_batch_size: Number of streams (or lines) that each process reads in parallel in evaluation.
        batching: ``stream`` reads the text as one long sequence.  ``sentence`` reads each line from a zero state.
        cache: Whether to use a memory-mapped token cache.  If False, the text is encoded again in every epoch.
        cache_dir: Folder of the token caches.
        expected: Corpus sizes reported in a paper: ``tokens`` and ``vocabulary`` of the training split, and ``source``.
        name: Name of the corpus in reports and in the cache folder.
        seed: Seed of the order of lines in sentence batching, and of random window lengths.
        random_lengths: Whether windows have random lengths in training, with the mean T; see :class:`StreamBatches`.
        tokenizer: How lines are split into words: ``whitespace``, ``treebank`` or ``ptb`` (``tokenization``).

    Raises:
        ValueError: If an argument is invalid.  The message contains the key, its value and a remedy.
    """

    def __init__(
        self,
        corpus: Corpus,
        vocabulary: VocabularyRules | None = None,
        batch_size: int = 20,
        sequence_length: int = 35,
        eval_batch_size: int = 10,
        batching: str = "stream",
        cache: bool = True,
        cache_dir: str = ".cache/lightrnn_pl",
        expected: Mapping[str, Any] | None = None,
        name: str = "corpus",
        seed: int = 0,
        random_lengths: bool = False,
        tokenizer: str = "whitespace",
    ) -> None:
        super().__init__()
        check_sizes(batch_size, sequence_length)
        check_sizes(eval_batch_size, sequence_length)
        check_choice("data.batching", batching, ("stream", "sentence"))
        check_seed("data.seed", seed)
        if batching == "sentence" and not cache:
            raise ValueError("data.batching=sentence sorts lines by length, which needs data.cache=true")
        if random_lengths and (batching != "stream" or not cache):
            raise ValueError("data.random_lengths=true needs data.batching=stream and data.cache=true")
        tokenizer_named(tokenizer, "data.tokenizer")
        self.corpus = corpus if tokenizer == "whitespace" else TokenizedCorpus(corpus, tokenizer)
        self.tokenizer = tokenizer
        self.rules = vocabulary or VocabularyRules()
        self.batch_size, self.sequence_length, self.eval_batch_size = batch_size, sequence_length, eval_batch_size
        self.batching, self.cache, self.cache_dir = batching, cache, cache_dir
        self.expected = dict(expected or {})
        for key in self.expected.keys() & {"tokens", "vocabulary"}:
            check_count(f"data.expected.{key}", self.expected[key])
        self.title, self.seed, self.random_lengths = name, seed, random_lengths
        self._opened: TokenCache | _UncachedCorpus | None = None

    @classmethod
    def from_text(cls, language: str | None = None, **options: Any) -> CorpusDataModule:
        """A data module of text files.

        Args:
            language: Not used.  Bundles of earlier versions have it in their configurations.
            options: Arguments of :class:`TextCorpus` and of this class.
        """
        return cls._from_corpus(TextCorpus, options)

    @classmethod
    def from_archive(
        cls,
        archive: str | None = None,
        root: str | None = None,
        language: str | None = None,
        languages: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> CorpusDataModule:
        """A data module of text files in an archive, or of the same files in a folder.

        Args:
            archive: Path or address of the archive.
            root: Folder of the unpacked archive; None to read the archive.
            language: Language of a multilingual corpus, from which its configuration derives the paths of the files.
            languages: The languages of the corpus.
            options: Arguments of :class:`ArchiveCorpus` and of this class.

        Raises:
            ValueError: If the corpus does not have the language.
        """
        if languages is not None:
            check_choice("data.language", language, tuple(languages))
        if root is not None:
            options.pop("streaming", None)
            remedy = "set data.root to the folder of the unpacked archive, or to null to read data.archive"
            return cls._from_corpus(TextCorpus, {"root": root, "instructions": remedy, **options})
        return cls._from_corpus(ArchiveCorpus, options if archive is None else {"archive": archive, **options})

    @classmethod
    def from_hub(cls, **options: Any) -> CorpusDataModule:
        """A data module of a dataset on the Hugging Face Hub.

        Args:
            options: Arguments of :class:`HubCorpus` and of this class.
        """
        return cls._from_corpus(HubCorpus, options)

    @classmethod
    def from_disk(cls, **options: Any) -> CorpusDataModule:
        """A data module of a dataset written by ``save_to_disk``.

        Args:
            options: Arguments of :class:`DiskCorpus` and of this class.
        """
        return cls._from_corpus(DiskCorpus, options)

    @classmethod
    def from_pydoc(cls, **options: Any) -> CorpusDataModule:
        """A data module of Python's own documentation; see :class:`PydocCorpus`.

        Args:
            options: Arguments of this class.
        """
        return cls._from_corpus(PydocCorpus, options)

    @classmethod
    def _from_corpus(cls, corpus_class: type[Corpus], options: Mapping[str, Any]) -> CorpusDataModule:
        """Build the corpus from the options that its constructor declares, and the data module from its own."""
        corpus_parameters = inspect.signature(corpus_class).parameters
        own_parameters = inspect.signature(cls).parameters.keys() - {"corpus"}
        valid = sorted(corpus_parameters.keys() | own_parameters)
        for key in options:
            if key not in valid:
                raise ValueError(f"data.{key} is not a valid key of {corpus_class.__name__}; use {', '.join(valid)}")
        for key, parameter in corpus_parameters.items():
            if parameter.default is parameter.empty and key not in options:
                raise ValueError(f"data.{key} is required by {corpus_class.__name__}; set it")
        corpus = corpus_class(**{key: value for key, value in options.items() if key in corpus_parameters})
        return cls(corpus, **{key: value for key, value in options.items() if key in own_parameters})

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of the training split."""
        return self._open().vocabulary

    @property
    def num_tokens(self) -> dict[str, int]:
        """Number of targets by split: words and end markers, but not begin markers."""
        return self._open().num_tokens

    @property
    def splits(self) -> list[str]:
        """The splits of the corpus."""
        return [split for split in SPLITS if self.corpus.has(split)]

    @override
    def prepare_data(self) -> None:
        """Create the token cache if it does not exist.  Lightning calls this on one process per machine."""
        if self.cache:
            open_cache(self.corpus, self.rules, self.cache_dir, self.title)

    @override
    def setup(self, stage: str | None = None) -> None:
        """Open the cache or, without a cache, count the words.  Repeated calls have no effect.

        Raises:
            ValueError: If the text cannot be read, or is too short for the batches.
        """
        if self._opened is None:
            if self.cache:
                self._opened = open_cache(self.corpus, self.rules, self.cache_dir, self.title)
            else:
                self._opened = _count(self.corpus, self.rules, self.splits, progress=self._rank == 0)
            if self._rank == 0:
                self.check_expected()
                self.check_unknown_words()
        if stage in (None, "fit") and self.batching == "stream":
            check_streams(self._opened.num_ids("train"), self.batch_size * self._world_size, self.sequence_length)

    @override
    def train_dataloader(self) -> Loader:
        return self._loader("train", self.batch_size, training=True)

    @override
    def val_dataloader(self) -> Loader | list[Any]:
        """Every token of the validation split once; empty if there is no such split."""
        return self.evaluation_dataloader("valid") if self.corpus.has("valid") else []

    @override
    def test_dataloader(self) -> Loader | list[Any]:
        """Every token of the test split once; empty if there is no such split."""
        return self.evaluation_dataloader("test") if self.corpus.has("test") else []

    def evaluation_dataloader(self, split: str) -> Loader:
        """Every token of a split once, in ``eval_batch_size`` streams per process.

        Raises:
            ValueError: If the corpus does not have the split.
        """
        return self._loader(split, self.eval_batch_size)

    def loader_for(self, vocabulary: Vocabulary, split: str) -> Loader:
        """Every token of a split once, encoded with the vocabulary of a trained model.

        This requires neither ``setup`` nor a training split.  The ids are kept in memory, at 4 bytes per token.

        Raises:
            ValueError: If the corpus does not have the split, or a word is not in a vocabulary without unknown word.
        """
        self._require_split(split)
        blocks = list(encoded_blocks(self.corpus, split, WordEncoder(vocabulary)))
        tokens, lengths = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        return self._batches(tokens, lengths, vocabulary, self.eval_batch_size, self.sequence_length)

    def training_tokens(self) -> NDArray[np.int32] | TokenStream:
        """The ids of the training split as a memory map, shape (N,), or without a cache as an iterable of blocks."""
        opened = self._open()
        if isinstance(opened, _UncachedCorpus):
            return TokenStream(self.corpus, "train", self.vocabulary)
        return opened.tokens("train")

    def statistics_dataloader(self, window: int | None = None) -> Loader:
        """The training split in the order of training, as a separate loader with its own position.

        Args:
            window: Number of words per window; None for ``sequence_length``.
        """
        return self._loader("train", self.batch_size, window=window)

    def reading_protocol(self, contiguous: bool) -> dict[str, Any]:
        """How text is read in evaluation: the part of the protocol that does not depend on the model.

        Args:
            contiguous: Whether the streams are contiguous parts of the text, as with a cache and with ``loader_for``.
        """
        if self.batching == "sentence":
            state = "from zero at every line"
        elif contiguous:
            state = "carried through the split, from zero where each stream starts"
        else:
            state = "carried through chunks of lines assigned to the streams (data.cache=false)"
        return {
            "corpus": self.title,
            "tokenizer": self.tokenizer,
            "batching": self.batching,
            "eval_batch_size": self.eval_batch_size,
            "eval_streams": self.eval_batch_size * self._world_size,
            "state": state,
        }

    def protocol(self) -> dict[str, Any]:
        """The evaluation protocol: how text is read, which tokens count, and how the vocabulary was built."""
        return {
            **self.reading_protocol(contiguous=self.cache),
            "end_marker": self.rules.end,
            "end_marker_counted": self.rules.end is not None,
            "begin_marker": self.rules.begin,
            "begin_marker_counted": False,
            "unknown_word": self.rules.unknown,
            "min_count": self.rules.min_count,
            "max_size": self.rules.max_size,
            "vocabulary_file": self.rules.file,
            "vocabulary_size": len(self.vocabulary),
            "tokens": dict(self.num_tokens),
        }

    def check_expected(self) -> dict[str, dict[str, float]]:
        """Deviations from the corpus sizes reported in a paper, in percent.  Logs a warning above 5 %."""
        measured = {"tokens": self.num_tokens["train"], "vocabulary": len(self.vocabulary)}
        report = {}
        for key, value in measured.items():
            stated = self.expected.get(key)
            if stated is None:
                continue
            percent = 100.0 * (value - stated) / stated
            report[key] = {"read": value, "stated": stated, "difference_percent": round(percent, 2)}
            level = logging.WARNING if abs(percent) > _TOLERATED_PERCENT else logging.INFO
            source = self.expected.get("source", "its paper")
            logger.log(
                level, "%s: train %s %d, %s states %d (%+.1f %%)", self.title, key, value, source, stated, percent
            )
        return report

    def check_unknown_words(self) -> dict[str, float]:
        """The share of unknown words by split, if none occurs in the training text.  Logs a warning.

        The probability of the unknown word is then not trained.  Empty without a cache.
        """
        opened, words = self._open(), self.vocabulary
        if isinstance(opened, _UncachedCorpus) or words.unknown_id is None or words.counts[words.unknown_id]:
            return {}
        evaluated = [split for split in self.splits if split != "train"]
        shares = {split: float((opened.tokens(split) == words.unknown_id).mean()) for split in evaluated}
        unknown = {split: share for split, share in shares.items() if share}
        for split, share in unknown.items():
            logger.warning(
                "%s: %.2g %% of the %s text are unknown words, but the training text has none,\n"
                "so that their probability is not trained; set data.vocabulary.min_count=2",
                *(self.title, 100 * share, split),
            )
        return unknown

    def _open(self) -> TokenCache | _UncachedCorpus:
        if self._opened is None:
            raise RuntimeError("the corpus has not been set up; call prepare_data() and setup() first")
        return self._opened

    @property
    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer is not None else 0

    @property
    def _world_size(self) -> int:
        return self.trainer.world_size if self.trainer is not None else 1

    def _loader(self, split: str, batch_size: int, training: bool = False, window: int | None = None) -> Loader:
        self._require_split(split)
        opened, words = self._open(), self.vocabulary
        length = self.sequence_length if window is None else window
        if isinstance(opened, _UncachedCorpus):
            read = partial(encoded_blocks, self.corpus, split, WordEncoder(words), progress=False)
            return UncachedBatches(read, opened.chunk_lengths[split], batch_size, length, **self._loader_options(words))
        return self._batches(opened.tokens(split), opened.lengths(split), words, batch_size, length, training)

    def _batches(
        self,
        tokens: NDArray[np.int32],
        lengths: NDArray[np.int32],
        vocabulary: Vocabulary,
        batch_size: int,
        window: int,
        training: bool = False,
    ) -> Loader:
        options = self._loader_options(vocabulary)
        seed = self.seed if training else None
        if self.batching == "stream":
            lengths_seed = seed if self.random_lengths else None
            return StreamBatches(tokens, batch_size, window, drop_remainder=training, seed=lengths_seed, **options)
        return SentenceBatches(tokens, lengths, batch_size, window, seed=seed, **options)

    def _require_split(self, split: str) -> None:
        if not self.corpus.has(split):
            raise ValueError(f"the corpus {self.title} has no {split} text; set data.{split}")

    def _loader_options(self, vocabulary: Vocabulary) -> dict[str, Any]:
        return {
            "context": vocabulary.context_id,
            "ignored": vocabulary.begin_id,
            "rank": self._rank,
            "world_size": self._world_size,
        }


@dataclass(frozen=True)
class _UncachedCorpus:
    """The result of the counting pass over a corpus without a cache."""

    vocabulary: Vocabulary
    num_tokens: dict[str, int]
    chunk_lengths: dict[str, NDArray[np.int32]]

    def num_ids(self, split: str) -> int:
        """Number of words and markers of a split."""
        return int(self.chunk_lengths[split].sum(dtype=np.int64))


def _count(corpus: Corpus, rules: VocabularyRules, splits: list[str], progress: bool) -> _UncachedCorpus:
    corpus.check()
    counter = WordCounter(rules)
    num_tokens, chunk_lengths = {}, {}
    encoder: WordCounter | WordEncoder = counter
    for split in splits:
        lengths, num_tokens[split] = [], 0
        for chunk in chunks(encoded_blocks(corpus, split, encoder, progress)):
            lengths.append(len(chunk))
            num_tokens[split] += encoder.num_targets(chunk)
        chunk_lengths[split] = np.array(lengths, dtype=np.int32)
        if split == "train":
            vocabulary = rules.build(counter.counts())
            encoder = WordEncoder(vocabulary)
    return _UncachedCorpus(vocabulary, num_tokens, chunk_lengths)
