"""Batches of text that is read as it goes, for ``data.cache=false``: no cache on disk and constant memory.

Streams cannot be contiguous parts of the text, because it is read only once an epoch and from the front.  Instead it
is dealt out in pieces of a few lines: whichever stream runs dry first gets the next piece.  To whom each piece goes
depends on the pieces' lengths alone, which the counting pass over the text has noted.  So the number of batches is
known, is the same on every rank, and a resumed epoch finds its place by dealing again.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from lightrnn_pl.data.batches import Batch, Loader, check_sizes, make_batch

LINES_PER_PIECE = 32

EncodedBlocks = Iterator[tuple[NDArray[np.int32], NDArray[np.int32]]]
"""Ids of blocks of lines with the lengths of the lines, as ``tokens.encoded_blocks`` yields them."""


def pieces(blocks: EncodedBlocks) -> Iterator[NDArray[np.int32]]:
    """The ids of every ``LINES_PER_PIECE`` lines, whatever blocks they come in."""
    ids, lengths = np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int32)
    for block_ids, block_lengths in blocks:
        ids, lengths = np.concatenate([ids, block_ids]), np.concatenate([lengths, block_lengths])
        ends = np.cumsum(lengths)[LINES_PER_PIECE - 1 :: LINES_PER_PIECE]
        parts = np.split(ids, ends)
        yield from parts[:-1]
        ids, lengths = parts[-1], lengths[len(ends) * LINES_PER_PIECE :]
    if len(ids):
        yield ids


class StreamedBatches(Loader):
    """Windows over streams that pieces of a text are dealt to; every token is a target exactly once an epoch.

    The state is carried from window to window, also from one piece to the next, and starts from zero in the first
    window only.  Streams that end before the longest one are padded with a mask.

    Args:
        read: Starts reading the text: ids and line lengths, markers included.
        piece_lengths: How many ids each piece of the text has, shape (pieces,).
        batch_size: Streams of one rank.
        sequence_length: T.
        context: The word before the first of every stream.
        ignored: A word that is no target although it is read (the begin marker).
    """

    def __init__(
        self,
        read: Callable[[], EncodedBlocks],
        piece_lengths: NDArray[np.int32],
        batch_size: int,
        sequence_length: int,
        *,
        context: int,
        ignored: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__()
        check_sizes(batch_size, sequence_length)
        self._read, self._batch_size, self.sequence_length = read, batch_size, sequence_length
        self.context, self.ignored = context, ignored
        self._first_stream = rank * batch_size
        self._owners, dealt = deal(piece_lengths, batch_size * world_size, sequence_length)
        self._length = int(dealt.max())

    def __len__(self) -> int:
        return -(-self._length // self.sequence_length)

    def _batches(self, epoch: int, start: int) -> Iterator[Batch]:
        size = self._batch_size
        dealt = zip(self._owners.tolist(), pieces(self._read()), strict=True)
        # Each buffer begins with the word before the stream's next target.
        buffers = [np.full(1, self.context, dtype=np.int32) for _ in range(size)]
        for window in range(len(self)):
            width = min(self.sequence_length, self._length - window * self.sequence_length)
            while min(map(len, buffers)) <= self.sequence_length and (piece := next(dealt, None)) is not None:
                stream = piece[0] - self._first_stream
                if 0 <= stream < size:
                    buffers[stream] = np.concatenate([buffers[stream], piece[1]])
            if window >= start:
                rows = np.zeros((size, width + 1), dtype=np.int32)
                inside = np.zeros((size, width), dtype=np.bool_)
                for row, has, buffer in zip(rows, inside, buffers, strict=True):
                    row[: len(buffer)] = buffer[: width + 1]
                    has[: len(buffer) - 1] = True
                reset = np.full(size, window == 0)
                yield make_batch(rows[:, :-1], rows[:, 1:], inside, reset, self.ignored)
            buffers = [buffer[min(width, len(buffer) - 1) :] for buffer in buffers]


def deal(
    piece_lengths: NDArray[np.int32], num_streams: int, sequence_length: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Give each piece to the stream that runs dry first: the stream of each piece, and the tokens of each stream."""
    dealt = np.zeros(num_streams, dtype=np.int64)
    owners = np.empty(len(piece_lengths), dtype=np.int32)
    # A stream runs dry in the window that it cannot fill; of those that do so together the first is served first.
    waiting = [(0, stream) for stream in range(num_streams)]
    for piece, length in enumerate(piece_lengths.tolist()):
        _, stream = waiting[0]
        owners[piece] = stream
        dealt[stream] += length
        heapq.heapreplace(waiting, (int(dealt[stream]) // sequence_length, stream))
    return owners, dealt
