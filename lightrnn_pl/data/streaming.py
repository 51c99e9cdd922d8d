"""Batches of text that is encoded on the fly, for ``data.cache=false``: no cache on disk and constant memory.

Streams cannot be contiguous parts of the text, because the text is read sequentially once per epoch.  Instead, it is
divided into chunks of a few lines, and each chunk is assigned to the stream that runs out of words first.  The
assignment depends only on the lengths of the chunks, which are recorded in the pass that counts words.  Therefore the
number of batches is known in advance and the same on every rank, and a resumed epoch can repeat the assignment.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from lightrnn_pl.data.batches import Batch, Loader, check_sizes, make_batch

LINES_PER_CHUNK = 32

EncodedBlocks = Iterator[tuple[NDArray[np.int32], NDArray[np.int32]]]
"""Blocks of lines as ids, each with the lengths of its lines, as yielded by ``tokens.encoded_blocks``."""


def chunks(blocks: EncodedBlocks) -> Iterator[NDArray[np.int32]]:
    """The ids of consecutive groups of ``LINES_PER_CHUNK`` lines, independent of the block boundaries."""
    ids, lengths = np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int32)
    for block_ids, block_lengths in blocks:
        ids, lengths = np.concatenate([ids, block_ids]), np.concatenate([lengths, block_lengths])
        ends = np.cumsum(lengths)[LINES_PER_CHUNK - 1 :: LINES_PER_CHUNK]
        parts = np.split(ids, ends)
        yield from parts[:-1]
        ids, lengths = parts[-1], lengths[len(ends) * LINES_PER_CHUNK :]
    if len(ids):
        yield ids


class UncachedBatches(Loader):
    """Windows over streams of text chunks.  Every token is a target exactly once per epoch.

    The recurrent state is carried across windows and chunks, and reset only before the first window.  Streams that end
    before the longest one are padded and masked.

    Args:
        read: Starts reading the text and returns its ids and line lengths, markers included.
        chunk_lengths: Number of ids in each chunk of the text, shape (chunks,).
        batch_size: Number of streams per rank.
        sequence_length: T.
        context: The input before the first word of every stream.
        ignored: A word that is an input but not a target (the begin marker).
        rank: Index of this process.
        world_size: Number of processes.
    """

    def __init__(
        self,
        read: Callable[[], EncodedBlocks],
        chunk_lengths: NDArray[np.int32],
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
        self._stream_of_chunk, stream_lengths = assign_chunks(chunk_lengths, batch_size * world_size, sequence_length)
        self._length = int(stream_lengths.max())

    def __len__(self) -> int:
        return -(-self._length // self.sequence_length)

    def _batches(self, epoch: int, start: int) -> Iterator[Batch]:
        size = self._batch_size
        assigned = zip(self._stream_of_chunk.tolist(), chunks(self._read()), strict=True)
        # Each buffer begins with the input before the stream's next target.
        buffers = [np.full(1, self.context, dtype=np.int32) for _ in range(size)]
        for window in range(len(self)):
            width = min(self.sequence_length, self._length - window * self.sequence_length)
            while min(map(len, buffers)) <= self.sequence_length and (item := next(assigned, None)) is not None:
                stream, chunk = item[0] - self._first_stream, item[1]
                if 0 <= stream < size:
                    buffers[stream] = np.concatenate([buffers[stream], chunk])
            if window >= start:
                rows = np.zeros((size, width + 1), dtype=np.int32)
                inside = np.zeros((size, width), dtype=np.bool_)
                for row, valid, buffer in zip(rows, inside, buffers, strict=True):
                    row[: len(buffer)] = buffer[: width + 1]
                    valid[: len(buffer) - 1] = True
                reset = np.full(size, window == 0)
                yield make_batch(rows[:, :-1], rows[:, 1:], inside, reset, self.ignored)
            buffers = [buffer[min(width, len(buffer) - 1) :] for buffer in buffers]


def assign_chunks(
    chunk_lengths: NDArray[np.int32], num_streams: int, sequence_length: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Assign each chunk to the stream that runs out of words first.

    Args:
        chunk_lengths: Number of ids in each chunk, shape (chunks,).
        num_streams: Number of streams of all ranks.
        sequence_length: Number of words that a stream reads per window.

    Returns:
        The stream of each chunk, shape (chunks,), and the number of ids in each stream, shape (streams,).
    """
    stream_lengths = np.zeros(num_streams, dtype=np.int64)
    stream_of_chunk = np.empty(len(chunk_lengths), dtype=np.int32)
    # Streams ordered by the first window that they cannot fill, then by index.
    queue = [(0, stream) for stream in range(num_streams)]
    for chunk, length in enumerate(chunk_lengths.tolist()):
        _, stream = queue[0]
        stream_of_chunk[chunk] = stream
        stream_lengths[stream] += length
        heapq.heapreplace(queue, (int(stream_lengths[stream]) // sequence_length, stream))
    return stream_of_chunk, stream_lengths
