"""The corpus as Lightning sees it: caching on one process, opening on all, and loaders for every purpose."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray

from lightrnn_pl.data.batches import Loader, SentenceBatches, StreamBatches, check_sizes, check_streams
from lightrnn_pl.data.corpus import SPLITS, Corpus, DiskCorpus, HubCorpus, TextCorpus
from lightrnn_pl.data.pydoc import PydocCorpus
from lightrnn_pl.data.streaming import StreamedBatches, pieces
from lightrnn_pl.data.tokens import TokenCache, TokenStream, WordCounter, WordEncoder, encoded_blocks, open_cache
from lightrnn_pl.vocabulary import Vocabulary, VocabularyRules

logger = logging.getLogger(__name__)

_TOLERATED_PERCENT = 5.0


class CorpusDataModule(pl.LightningDataModule):
    """A corpus, the vocabulary that rules make of its train split, and batches of it.

    After ``setup``: ``vocabulary`` and ``num_tokens`` (targets by split: words and end markers).

    Args:
        corpus: Where the text comes from.
        vocabulary: The rules; None for the defaults.
        batch_size: Streams (or lines) that each process reads side by side in training.
        sequence_length: T, words in a window.
        eval_batch_size: Streams (or lines) of each process in evaluation.
        batching: ``stream``: the text is one long sequence; ``sentence``: each line is a sequence from zero state.
        cache: Whether to keep tokens in a memory-mapped cache; False streams the text anew every epoch.
        cache_dir: Folder of the caches.
        expected: What a paper states of the corpus: ``tokens`` and ``vocabulary`` (of train), and ``source``.
        name: What the corpus is called in reports and in the cache.
        seed: Seed of the order of lines in sentence batching.

    Raises:
        ValueError: Naming the key, its value and the remedy.
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
    ) -> None:
        super().__init__()
        check_sizes(batch_size, sequence_length)
        check_sizes(eval_batch_size, sequence_length)
        if batching not in ("stream", "sentence"):
            raise ValueError(f"data.batching={batching!r} is neither 'stream' nor 'sentence'")
        if batching == "sentence" and not cache:
            raise ValueError("data.batching=sentence sorts lines by length, which needs data.cache=true")
        self.corpus = corpus
        self.rules = vocabulary or VocabularyRules()
        self.batch_size, self.sequence_length, self.eval_batch_size = batch_size, sequence_length, eval_batch_size
        self.batching, self.cache, self.cache_dir = batching, cache, cache_dir
        self.expected = dict(expected or {})
        self.title, self.seed = name, seed
        self._opened: TokenCache | _Counted | None = None

    @classmethod
    def from_text(
        cls,
        train: str | Sequence[str],
        valid: str | Sequence[str] | None = None,
        test: str | Sequence[str] | None = None,
        root: str | None = None,
        **common: Any,
    ) -> CorpusDataModule:
        """Of text files; see ``TextCorpus``."""
        return cls(TextCorpus(train, valid, test, root), **common)

    @classmethod
    def from_hub(
        cls,
        id: str,
        config: str | None = None,
        revision: str | None = None,
        data_files: Mapping[str, Any] | None = None,
        column: str = "text",
        train: str = "train",
        valid: str | None = "validation",
        test: str | None = "test",
        streaming: bool = True,
        **common: Any,
    ) -> CorpusDataModule:
        """Of a dataset of the Hugging Face hub; see ``HubCorpus``."""
        splits = {"train": train, "valid": valid, "test": test}
        return cls(HubCorpus(id, config, revision, data_files, column, splits, streaming), **common)

    @classmethod
    def from_disk(
        cls,
        path: str,
        column: str = "text",
        train: str = "train",
        valid: str | None = "validation",
        test: str | None = "test",
        **common: Any,
    ) -> CorpusDataModule:
        """Of a dataset that ``save_to_disk`` wrote; see ``DiskCorpus``."""
        return cls(DiskCorpus(path, column, {"train": train, "valid": valid, "test": test}), **common)

    @classmethod
    def from_pydoc(cls, **common: Any) -> CorpusDataModule:
        """Of the documentation that Python carries; see ``PydocCorpus``."""
        return cls(PydocCorpus(), **common)

    @property
    def vocabulary(self) -> Vocabulary:
        """The words of train that the rules keep."""
        return self._open().vocabulary

    @property
    def num_tokens(self) -> dict[str, int]:
        """Targets by split: words and end markers, without begin markers."""
        return self._open().num_tokens

    @property
    def splits(self) -> list[str]:
        """The splits that the corpus has."""
        return [split for split in SPLITS if self.corpus.has(split)]

    def prepare_data(self) -> None:
        """Make the token cache if there is none; Lightning calls it on one process of a machine only."""
        if self.cache:
            open_cache(self.corpus, self.rules, self.cache_dir, self.title)

    def setup(self, stage: str | None = None) -> None:
        """Open the cache (or count the text, without one); further calls do nothing.

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
        if stage in (None, "fit") and self.batching == "stream":
            check_streams(self._opened.num_ids("train"), self.batch_size * self._world_size, self.sequence_length)

    def train_dataloader(self) -> Loader:
        """One epoch of train."""
        return self._loader("train", self.batch_size, training=True)

    def val_dataloader(self) -> Loader | list[Any]:
        """Every token of valid once; nothing if there is no such split."""
        return self.evaluation_dataloader("valid") if self.corpus.has("valid") else []

    def test_dataloader(self) -> Loader | list[Any]:
        """Every token of test once; nothing if there is no such split."""
        return self.evaluation_dataloader("test") if self.corpus.has("test") else []

    def evaluation_dataloader(self, split: str) -> Loader:
        """Every token of a split once, in ``eval_batch_size`` streams a process.

        Raises:
            ValueError: If the corpus has no such split.
        """
        return self._loader(split, self.eval_batch_size)

    def loader_for(self, vocabulary: Vocabulary, split: str) -> Loader:
        """Every token of a split once, read with the vocabulary of a trained model; needs neither setup nor train.

        The ids of the split are held in memory, 4 bytes a token.

        Raises:
            ValueError: If the corpus has no such split, or it has words that the vocabulary leaves no id.
        """
        if not self.corpus.has(split):
            raise ValueError(f"the corpus {self.title} has no {split} text; set data.{split}")
        blocks = list(encoded_blocks(self.corpus, split, WordEncoder(vocabulary)))
        tokens, lengths = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        return self._batches(tokens, lengths, vocabulary, self.eval_batch_size, self.sequence_length)

    def training_tokens(self) -> NDArray[np.int32] | TokenStream:
        """The ids of train as one memory map, shape (N,); without a cache, in blocks that are read when asked for."""
        opened = self._open()
        if isinstance(opened, _Counted):
            return TokenStream(self.corpus, "train", self.vocabulary)
        return opened.tokens("train")

    def statistics_dataloader(self, window: int | None = None) -> Loader:
        """Every token of train once in the batches of training, as a pass of its own that no other is disturbed by.

        Args:
            window: Words in a window; None for those of training.
        """
        return self._loader("train", self.batch_size, window=window)

    def reading(self, split_at_once: bool) -> dict[str, Any]:
        """How text is read in evaluation: the part of the protocol that belongs to the reader, not to the model.

        Args:
            split_at_once: Whether streams are contiguous, as from a cache and by ``loader_for``.
        """
        if self.batching == "sentence":
            state = "from zero at every line"
        elif split_at_once:
            state = "carried through the split, from zero where each stream starts"
        else:
            state = "carried through pieces of lines dealt to the streams (data.cache=false)"
        return {
            "corpus": self.title,
            "batching": self.batching,
            "eval_batch_size": self.eval_batch_size,
            "eval_streams": self.eval_batch_size * self._world_size,
            "state": state,
        }

    def protocol(self) -> dict[str, Any]:
        """What a reader has to know beside a perplexity: what is counted, and what the model was told before."""
        return {
            **self.reading(split_at_once=self.cache),
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
        """How far the corpus is from what its paper states, in percent of that; warns where it is over 5 %."""
        found = {"tokens": self.num_tokens["train"], "vocabulary": len(self.vocabulary)}
        report = {}
        for key, value in found.items():
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

    def _open(self) -> TokenCache | _Counted:
        if self._opened is None:
            raise RuntimeError("the corpus is not open yet; call prepare_data() and setup() first")
        return self._opened

    @property
    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer is not None else 0

    @property
    def _world_size(self) -> int:
        return self.trainer.world_size if self.trainer is not None else 1

    def _loader(self, split: str, batch_size: int, training: bool = False, window: int | None = None) -> Loader:
        if not self.corpus.has(split):
            raise ValueError(f"the corpus {self.title} has no {split} text; set data.{split}")
        opened, words = self._open(), self.vocabulary
        length = self.sequence_length if window is None else window
        if isinstance(opened, _Counted):
            read = partial(encoded_blocks, self.corpus, split, WordEncoder(words), progress=False)
            return StreamedBatches(read, opened.piece_lengths[split], batch_size, length, **self._places(words))
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
        places = self._places(vocabulary)
        if self.batching == "stream":
            return StreamBatches(tokens, batch_size, window, drop_remainder=training, **places)
        seed = self.seed if training else None
        return SentenceBatches(tokens, lengths, batch_size, window, seed=seed, **places)

    def _places(self, vocabulary: Vocabulary) -> dict[str, Any]:
        return {
            "context": vocabulary.context_id,
            "ignored": vocabulary.begin_id,
            "rank": self._rank,
            "world_size": self._world_size,
        }


@dataclass(frozen=True)
class _Counted:
    """What a counting pass over a corpus without a cache has found."""

    vocabulary: Vocabulary
    num_tokens: dict[str, int]
    piece_lengths: dict[str, NDArray[np.int32]]

    def num_ids(self, split: str) -> int:
        """Words and markers of a split."""
        return int(self.piece_lengths[split].sum(dtype=np.int64))


def _count(corpus: Corpus, rules: VocabularyRules, splits: list[str], progress: bool) -> _Counted:
    corpus.check()
    counter = WordCounter(rules)
    num_tokens, piece_lengths = {}, {}
    encoder: WordCounter | WordEncoder = counter
    for split in splits:
        lengths, num_tokens[split] = [], 0
        for piece in pieces(encoded_blocks(corpus, split, encoder, progress)):
            lengths.append(len(piece))
            num_tokens[split] += encoder.num_targets(piece)
        piece_lengths[split] = np.array(lengths, dtype=np.int32)
        if split == "train":
            vocabulary = rules.build(counter.counts())
            encoder = WordEncoder(vocabulary)
    return _Counted(vocabulary, num_tokens, piece_lengths)
