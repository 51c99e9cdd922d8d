"""Batches for truncated back-propagation through time: windows over streams of text.

A loader is a plain iterable with a length, and remembers its place: Lightning stores ``state_dict()`` in every
checkpoint and hands it back to ``load_state_dict()``, which makes a resumed epoch go on with the very next batch.
Because every loader knows its length, Lightning never fetches ahead, and the place is that of the last batch used.
Knows ids of words and nothing of text; ``streaming.py`` has the loader that reads text as it goes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool
from numpy.typing import NDArray
from torch import Tensor

from lightrnn_pl.checks import check_count
from lightrnn_pl.types import WordMask, Words


class Batch(NamedTuple):
    """One window of T words of B streams.

    Attributes:
        inputs: The word before each target, int64.
        targets: The words to predict, int64.
        mask: False where a target does not count: padding, or a begin marker.
        reset: True where the recurrent state of a stream starts from zero before this window.
    """

    inputs: Words
    targets: Words
    mask: WordMask
    reset: Bool[Tensor, " B"]


class Loader(ABC):
    """An iterable of ``num_batches`` batches an epoch, the same number on every rank, that resumes exactly.

    The epoch only matters to loaders that shuffle.  It goes up when an epoch has been read to its end; Lightning,
    which leaves an epoch as soon as it has its last batch, sets it by ``sampler.set_epoch``.
    """

    def __init__(self) -> None:
        self._epoch = 0
        self._position = 0
        self._resume = 0

    batch_sampler = None
    """Looked for by Lightning wherever there is a ``sampler``."""

    @property
    def sampler(self) -> Loader:
        """Where Lightning looks for ``set_epoch``."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Begin ``epoch`` with the next batch; the place that was loaded is kept if it is in this epoch."""
        if epoch != self._epoch:
            self._epoch, self._position, self._resume = epoch, 0, 0

    def state_dict(self) -> dict[str, Any]:
        """The epoch, the number of its batches that were handed out, and of how many."""
        return {"epoch": self._epoch, "position": self._position, "num_batches": len(self)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after the batch that was the last one handed out when the state was taken.

        Raises:
            ValueError: If the state is of other batches.
        """
        if state_dict["num_batches"] != len(self):
            raise ValueError(
                f"the checkpoint was written in an epoch of {state_dict['num_batches']} batches, but this one has "
                f"{len(self)}; resume with the same corpus, data.batch_size, data.sequence_length and devices"
            )
        self._epoch, self._resume = state_dict["epoch"], state_dict["position"]
        self._position = self._resume

    def __iter__(self) -> Iterator[Batch]:
        # A generator, so that nothing happens before the first batch is asked for: Lightning makes iterators that
        # it never reads, before and after loading the state.
        if self._resume == len(self):
            self._epoch, self._resume = self._epoch + 1, 0
        start, self._resume = self._resume, 0
        for self._position, batch in enumerate(self._batches(self._epoch, start), start=start + 1):  # noqa: B020
            yield batch
        self._epoch, self._position = self._epoch + 1, 0

    @abstractmethod
    def __len__(self) -> int:
        """Batches in an epoch."""

    @abstractmethod
    def _batches(self, epoch: int, start: int) -> Iterator[Batch]:
        """The batches of ``epoch`` from number ``start`` on."""


class StreamBatches(Loader):
    """The corpus cut into ``batch_size * world_size`` contiguous streams, read side by side in windows of T words.

    Rank r owns the streams from r * batch_size on.  The state is carried from window to window and starts from zero
    in the first only.  The word before the first target of a stream is the one that precedes it in the text.

    Args:
        tokens: All tokens of the corpus, shape (N,); may be a memory map.
        batch_size: Streams of one rank.
        sequence_length: T; the last window may be shorter.
        context: The word before the very first token.
        ignored: A word that is no target although it is read (the begin marker).
        drop_remainder: True: all streams are equally long and fewer than one token a stream is left out.  False:
            every token is a target exactly once, and shorter streams are padded with a mask.

    Raises:
        ValueError: If a size is below one, or the streams are shorter than one window and may not be padded.
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
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__()
        check_sizes(batch_size, sequence_length)
        self.tokens, self.sequence_length = tokens, sequence_length
        self.context, self.ignored = context, ignored
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
        for window in range(start, len(self)):
            first = window * self.sequence_length
            columns = np.arange(first, min(first + self.sequence_length, self._length))
            places = self._starts[:, None] + columns
            inside = places < self._ends[:, None]
            places = np.where(inside, places, 0)
            previous = np.where(places > 0, self.tokens[places - 1], self.context)
            reset = np.full(len(places), window == 0)
            yield make_batch(previous, self.tokens[places], inside, reset, self.ignored)


class SentenceBatches(Loader):
    """Every line is a sequence of its own, read from a zero state; lines of similar length share a batch.

    Lines longer than a window go on in the next one with their state carried.  How many lines of which length are
    read together is the same in every epoch; which lines of one length, and in which order, is drawn anew.

    Args:
        tokens: All tokens of the corpus, shape (N,).
        lengths: How many tokens each line has, shape (lines,).
        batch_size: Lines that one rank reads at a time.
        sequence_length: T; a window is as long as its longest line needs.
        context: The word before the first of a line, where the line does not begin with a begin marker.
        ignored: The begin marker if lines begin with it: it is read and is never a target.
        seed: Seed of the order, or None to keep lines of one length, and groups, in order.
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
        self._marked = int(ignored is not None)  # the begin marker is an input only
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
        together = self.batch_size * self.world_size
        first = group * together
        longest = int(self._lengths[lines[first]])
        mine = lines[first : first + together][self.rank * self.batch_size : (self.rank + 1) * self.batch_size]
        starts, lengths = np.zeros((2, self.batch_size), dtype=np.int64)
        starts[: len(mine)], lengths[: len(mine)] = self._starts[mine], self._lengths[mine]
        at = window * self.sequence_length
        columns = np.arange(at, min(at + self.sequence_length, longest))
        inside = columns < lengths[:, None]
        places = np.where(inside, starts[:, None] + columns, 0)
        previous = self.tokens[np.maximum(places - 1, 0)]
        if not self._marked:
            previous = np.where(columns > 0, previous, self.context)
        reset = np.full(self.batch_size, window == 0)
        return make_batch(previous, self.tokens[places], inside, reset, self.ignored)


def make_batch(
    inputs: NDArray[Any],
    targets: NDArray[Any],
    inside: NDArray[np.bool_],
    reset: NDArray[np.bool_],
    ignored: int | None,
) -> Batch:
    """A batch of arrays; places outside their stream read and predict word 0, and do not count."""
    counts = inside if ignored is None else inside & (targets != ignored)
    return Batch(
        torch.from_numpy(np.where(inside, inputs, 0).astype(np.int64)),
        torch.from_numpy(np.where(inside, targets, 0).astype(np.int64)),
        torch.from_numpy(np.ascontiguousarray(counts)),
        torch.from_numpy(reset),
    )


def check_sizes(batch_size: int, sequence_length: int) -> None:
    """Refuse sizes that are no whole numbers of at least one.

    Raises:
        ValueError: Naming the key and its value.
    """
    check_count("data.batch_size (or data.eval_batch_size)", batch_size)
    check_count("data.sequence_length", sequence_length)


def check_streams(num_tokens: int, num_streams: int, sequence_length: int) -> int:
    """The length of each stream that ``num_tokens`` are cut into.

    Raises:
        ValueError: If it is shorter than one window.
    """
    length = num_tokens // num_streams
    if length < sequence_length:
        raise ValueError(
            f"{num_tokens} tokens in {num_streams} streams make {length} a stream, fewer than one window of "
            f"data.sequence_length={sequence_length}; choose a smaller data.sequence_length or data.batch_size, or "
            "give more text"
        )
    return length
