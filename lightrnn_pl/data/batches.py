"""Batches for truncated back-propagation through time: windows over streams of word ids.

A loader is an iterable with a length that tracks its position.  Lightning stores ``state_dict()`` in every checkpoint
and restores it with ``load_state_dict()``, so a resumed epoch continues with the next batch.  Because every loader has
a length, Lightning does not prefetch, and the position is that of the last batch used.  ``streaming.py`` contains the
loader for text without a token cache.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Bool
from numpy.typing import NDArray
from torch import Tensor

from lightrnn_pl.checks import check_count
from lightrnn_pl.types import WordMask, Words


class Batch(NamedTuple):
    """A window of T words from each of B streams.

    Attributes:
        inputs: The word before each target, int64.
        targets: The words to predict, int64.
        mask: False for targets that do not count: padding and begin markers.
        reset: True for streams whose recurrent state is reset to zero before this window.
    """

    inputs: Words
    targets: Words
    mask: WordMask
    reset: Bool[Tensor, " B"]


class Loader(ABC):
    """An iterable of ``len(loader)`` batches per epoch, the same number on every rank, that resumes exactly.

    The epoch number only affects loaders that shuffle.  It is incremented when an epoch has been read to its end.
    Lightning stops iterating after the last batch of an epoch, and sets the epoch with ``sampler.set_epoch``.
    """

    def __init__(self) -> None:
        self._epoch = 0
        self._position = 0
        self._resume = 0

    batch_sampler = None
    """Lightning accesses this attribute of loaders that have a ``sampler``."""

    @property
    def sampler(self) -> Loader:
        """The object on which Lightning calls ``set_epoch``."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Start ``epoch`` with the next batch.  A position loaded for the same epoch is kept."""
        if epoch != self._epoch:
            self._epoch, self._position, self._resume = epoch, 0, 0

    def state_dict(self) -> dict[str, Any]:
        """The epoch, the number of batches used so far, and the number of batches per epoch."""
        return {"epoch": self._epoch, "position": self._position, "num_batches": len(self)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue with the batch after the last one used.

        Raises:
            ValueError: If the number of batches per epoch has changed.
        """
        if state_dict["num_batches"] != len(self):
            raise ValueError(
                f"the checkpoint was written in an epoch of {state_dict['num_batches']} batches, but this one has "
                f"{len(self)}; resume with the same corpus, data.batch_size, data.sequence_length and devices"
            )
        self._epoch, self._resume = state_dict["epoch"], state_dict["position"]
        self._position = self._resume

    def __iter__(self) -> Iterator[Batch]:
        # A generator function, so nothing happens before the first batch is requested: Lightning creates iterators
        # that it never uses, before and after loading the state.
        if self._resume == len(self):
            self._epoch, self._resume = self._epoch + 1, 0
        start, self._resume = self._resume, 0
        for self._position, batch in enumerate(self._batches(self._epoch, start), start=start + 1):  # noqa: B020
            yield batch
        self._epoch, self._position = self._epoch + 1, 0

    @abstractmethod
    def __len__(self) -> int:
        """Number of batches per epoch."""

    @abstractmethod
    def _batches(self, epoch: int, start: int) -> Iterator[Batch]:
        """The batches of ``epoch``, starting with batch ``start``."""


class StreamBatches(Loader):
    """The corpus split into ``batch_size * world_size`` contiguous streams, read in parallel in windows of T words.

    Rank r reads ``batch_size`` streams starting with stream r * batch_size.  The recurrent state is carried across
    windows and reset only before the first one.  The first input of a stream is the word that precedes it in the text.

    Args:
        tokens: All tokens of the corpus, shape (N,); may be a memory map.
        batch_size: Number of streams per rank.
        sequence_length: T.  The last window may be shorter.
        context: The input before the first token of the corpus.
        ignored: A word that is an input but not a target (the begin marker).
        drop_remainder: If True, all streams have the same length, and the last N mod (number of streams) tokens are
            dropped.  If False, every token is a target exactly once, and shorter streams are padded and masked.
        seed: Seed of random window lengths with the mean T (Merity et al. 2018, section 4.1), which differ between
            epochs; None to use T for all windows.
        rank: Index of this process.
        world_size: Number of processes.

    Raises:
        ValueError: If a size is less than one, or with ``drop_remainder`` the streams are shorter than one window.
    """

    def __init__(
        self,
        tokens: NDArray[np.int32],
        batch_size: int,
        sequence_length: int,
        *,
        context: int,
        ignored: int | None = None,
        drop_remainder: bool = True,
        seed: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__()
        check_sizes(batch_size, sequence_length)
        self.tokens, self.sequence_length = tokens, sequence_length
        self.context, self.ignored, self.seed = context, ignored, seed
        num_streams = batch_size * world_size
        if drop_remainder:
            length = check_streams(len(tokens), num_streams, sequence_length)
            bounds = np.arange(num_streams + 1) * length
        else:
            bounds = np.arange(num_streams + 1) * len(tokens) // num_streams
        self._length = int(np.diff(bounds).max())
        self._starts = bounds[rank * batch_size : (rank + 1) * batch_size]
        self._ends = bounds[rank * batch_size + 1 : (rank + 1) * batch_size + 1]

    def __len__(self) -> int:
        return -(-self._length // self.sequence_length)

    def _batches(self, epoch: int, start: int) -> Iterator[Batch]:
        if self.seed is None:
            bounds = np.minimum(np.arange(len(self) + 1) * self.sequence_length, self._length)
        else:
            bounds = random_bounds(self._length, len(self), (self.seed, epoch))
        for window in range(start, len(self)):
            columns = np.arange(bounds[window], bounds[window + 1])
            positions = self._starts[:, None] + columns
            inside = positions < self._ends[:, None]
            positions = np.where(inside, positions, 0)
            previous = np.where(positions > 0, self.tokens[positions - 1], self.context)
            reset = np.full(len(positions), window == 0)
            yield make_batch(previous, self.tokens[positions], inside, reset, self.ignored)


def random_bounds(length: int, num_windows: int, seed: tuple[int, ...]) -> NDArray[np.int64]:
    """Where the windows of a stream start, and where the last one ends, shape (windows + 1,).

    As in Merity et al. (2018), lengths are normally distributed around their mean, or in 5% of windows around half of
    it, with a standard deviation of a seventh (5 of 35 words).  They are then scaled so that the number of windows is
    the same in every epoch.

    Args:
        length: Number of words in the stream, at least the number of windows.
        num_windows: Number of windows.
        seed: Seed of the lengths.
    """
    generator = np.random.default_rng(seed)
    halved = generator.random(num_windows) < 0.05
    lengths = np.maximum(np.where(halved, 0.5, 1.0) + generator.normal(0, 1 / 7, num_windows), 1 / 7)
    bounds = np.rint(np.cumsum(lengths) / lengths.sum() * length).astype(np.int64)
    # At least one word per window.
    windows = np.arange(1, num_windows + 1)
    bounds = np.maximum.accumulate(np.maximum(bounds, windows) - windows) + windows
    return np.concatenate([[0], np.minimum(bounds, length - num_windows + windows)])


class SentenceBatches(Loader):
    """Every line is a separate sequence that starts from a zero state.  Lines of similar length share a batch.

    A line longer than a window continues in the next window with its state carried over.  The lengths of the lines
    that share a batch are the same in every epoch.  Lines of equal length and the order of the batches are reshuffled.

    Args:
        tokens: All tokens of the corpus, shape (N,).
        lengths: Number of tokens per line, shape (lines,).
        batch_size: Number of lines that a rank reads at a time.
        sequence_length: Maximum T.  A window is only as long as its longest line.
        context: The input before the first word of a line if lines have no begin marker.
        ignored: The begin marker if lines have one.  It is an input but not a target.
        seed: Seed of the shuffling; None to keep the order of equally long lines and of the batches.
        rank: Index of this process.
        world_size: Number of processes.
    """

    def __init__(
        self,
        tokens: NDArray[np.int32],
        lengths: NDArray[np.int32],
        batch_size: int,
        sequence_length: int,
        *,
        context: int,
        ignored: int | None = None,
        seed: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__()
        check_sizes(batch_size, sequence_length)
        self.tokens, self.batch_size, self.sequence_length = tokens, batch_size, sequence_length
        self.context, self.ignored, self.seed = context, ignored, seed
        self.rank, self.world_size = rank, world_size
        ends = np.cumsum(lengths, dtype=np.int64)
        self._marked = int(ignored is not None)  # the begin marker is only an input
        self._starts = (ends - lengths + self._marked)[lengths > self._marked]
        self._lengths = (np.asarray(lengths) - self._marked)[lengths > self._marked]
        longest_first = -np.sort(-self._lengths)
        self._windows = -(-longest_first[:: batch_size * world_size] // sequence_length)

    def __len__(self) -> int:
        return int(self._windows.sum())

    def _batches(self, epoch: int, start: int) -> Iterator[Batch]:
        lines, groups = np.arange(len(self._lengths)), np.arange(len(self._windows))
        if self.seed is not None:
            generator = np.random.default_rng((self.seed, epoch))
            generator.shuffle(lines)
            generator.shuffle(groups)
        lines = lines[np.argsort(-self._lengths[lines], kind="stable")]
        skipped = 0
        for group in groups:
            num_windows = int(self._windows[group])
            if skipped + num_windows > start:
                for window in range(max(0, start - skipped), num_windows):
                    yield self._window(lines, int(group), window)
            skipped += num_windows

    def _window(self, lines: NDArray[np.int64], group: int, window: int) -> Batch:
        group_size = self.batch_size * self.world_size
        first = group * group_size
        longest = int(self._lengths[lines[first]])
        chosen = lines[first : first + group_size][self.rank * self.batch_size : (self.rank + 1) * self.batch_size]
        starts, lengths = np.zeros((2, self.batch_size), dtype=np.int64)
        starts[: len(chosen)], lengths[: len(chosen)] = self._starts[chosen], self._lengths[chosen]
        begin = window * self.sequence_length
        columns = np.arange(begin, min(begin + self.sequence_length, longest))
        inside = columns < lengths[:, None]
        positions = np.where(inside, starts[:, None] + columns, 0)
        previous = self.tokens[np.maximum(positions - 1, 0)]
        if not self._marked:
            previous = np.where(columns > 0, previous, self.context)
        reset = np.full(self.batch_size, window == 0)
        return make_batch(previous, self.tokens[positions], inside, reset, self.ignored)


TextBatches = TypeVar("TextBatches", bound=StreamBatches | SentenceBatches)


def over_positions(loader: TextBatches) -> TextBatches:
    """The same batches with positions in the text instead of words, and without ignored words."""
    positions = copy.copy(loader)
    positions.tokens, positions.ignored = np.arange(len(loader.tokens), dtype=np.int32), None
    return positions


def target_mask(loader: StreamBatches | SentenceBatches) -> NDArray[np.bool_]:
    """Whether each token of the text is a target, (N,)."""
    return np.ones(len(loader.tokens), np.bool_) if loader.ignored is None else loader.tokens != loader.ignored


def make_batch(
    inputs: NDArray[Any],
    targets: NDArray[Any],
    inside: NDArray[np.bool_],
    reset: NDArray[np.bool_],
    ignored: int | None,
) -> Batch:
    """Build a batch from arrays.  Positions outside their stream are filled with word 0 and masked."""
    counts = inside if ignored is None else inside & (targets != ignored)
    return Batch(
        torch.from_numpy(np.where(inside, inputs, 0).astype(np.int64)),
        torch.from_numpy(np.where(inside, targets, 0).astype(np.int64)),
        torch.from_numpy(np.ascontiguousarray(counts)),
        torch.from_numpy(reset),
    )


def check_sizes(batch_size: int, sequence_length: int) -> None:
    """Check that both sizes are integers greater than or equal to 1.

    Raises:
        ValueError: Naming the key and its value.
    """
    check_count("data.batch_size (or data.eval_batch_size)", batch_size)
    check_count("data.sequence_length", sequence_length)


def check_streams(num_tokens: int, num_streams: int, sequence_length: int) -> int:
    """The length of each stream when ``num_tokens`` tokens are split into ``num_streams`` streams.

    Raises:
        ValueError: If a stream is shorter than one window.
    """
    length = num_tokens // num_streams
    if length < sequence_length:
        raise ValueError(
            f"{num_tokens} tokens split into {num_streams} streams leave {length} tokens per stream, less than one "
            f"window (data.sequence_length={sequence_length}); use a smaller data.sequence_length or data.batch_size, "
            "or more text"
        )
    return length
