"""Reads an ONNX export with nothing but numpy and onnxruntime: a pattern for clients in any language.

    python client.py FOLDER                        # lines from standard input: log-probability, tab, the line
    python client.py FOLDER --next 10              # the ten most likely next words of each line

Every export holds a copy of this file beside ``metadata.json``, which says what it does here: which graph is run when,
and what goes in and out.  It imports nothing else of the package it comes from.
"""

from __future__ import annotations

import argparse
import csv
import heapq
import json
import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Logs = NDArray[np.float32]
State = list[NDArray[np.float32]]


class Position(NamedTuple):
    """Where B texts stand between two words: what the first code of the next word may be, and the state."""

    first: Logs
    state: State


class OnnxModel:
    """A model as ``lightrnn-export format=onnx`` wrote it.

    Args:
        folder: The export.
        threads: Of onnxruntime.
    """

    def __init__(self, folder: str | Path, threads: int = 1) -> None:
        import onnxruntime

        folder = Path(folder)
        self.metadata: dict[str, Any] = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        self._graphs = [
            onnxruntime.InferenceSession(str(folder / graph["file"]), options, providers=["CPUExecutionProvider"])
            for graph in self.metadata["graphs"]
        ]
        lines = (folder / self.metadata["vocabulary"]).read_text(encoding="utf-8").split("\n")[1:]
        self.words = [line.split("\t")[0] for line in lines if line]
        self.ids = {word: number for number, word in enumerate(self.words)}
        self.sides: list[int] = self.metadata["sides"]
        self.codes = self._table(folder)
        cells = np.ravel_multi_index(tuple(self.codes.T), self.sides)
        self.word_of_cell = np.full(math.prod(self.sides), -1, dtype=np.int64)
        self.word_of_cell[cells] = np.arange(len(self.words))

    def _table(self, folder: Path) -> Ids:
        """The codes of each word, (V, k); with one code it is the word's id."""
        if self.metadata["table"] is None:
            return np.arange(len(self.words))[:, None]
        codes = np.zeros((len(self.words), len(self.sides)), dtype=np.int64)
        with (folder / self.metadata["table"]).open(encoding="utf-8", newline="") as file:
            for word, *spelling in list(csv.reader(file, delimiter="\t"))[1:]:
                codes[self.ids[word]] = [int(code) for code in spelling]
        return codes

    def encode(self, text: str) -> Ids:
        """Ids of the words of a text, separated by whitespace; unknown ones as the unknown word."""
        unknown = self.metadata["unknown"]
        words = [word if word in self.ids or unknown is None else unknown for word in text.split()]
        return np.array([self.ids[word] for word in words], dtype=np.int64)

    def zeros(self, batch_size: int) -> State:
        """The state before anything was read."""
        return [
            np.zeros((part["layers"], batch_size, part["size"]), dtype=np.float32) for part in self.metadata["state"]
        ]

    def run(self, axis: int, read: Ids, state: State) -> tuple[Logs, State]:
        """One graph: log-probabilities of code ``axis``, (N, side), and the state after it."""
        graph = self.metadata["graphs"][axis]
        fed = dict(zip(graph["inputs"], [read, *state], strict=True))
        scores, *after = self._graphs[axis].run(graph["outputs"], fed)
        return scores, after

    def read(self, words: Ids, state: State) -> Position:
        """Read one word of each text, (B,), whose codes have been gone through already."""
        codes = self.metadata["graphs"][0]["reads"] == "last code"
        return Position(*self.run(0, self.codes[words, -1] if codes else words, state))

    def spell(self, position: Position, words: Ids) -> tuple[Logs, State]:
        """Log-probability of one word of each text, (B,), and the state in which it is to be read."""
        codes, batch = self.codes[words], np.arange(len(words))
        total, state, prefix = position.first[batch, codes[:, 0]], position.state, codes[:, 0]
        for axis in range(1, len(self.sides)):
            scores, state = self.run(axis, prefix, state)
            total = total + scores[batch, codes[:, axis]]
            prefix = prefix * self.sides[axis] + codes[:, axis]
        return total, state

    def start(self, batch_size: int = 1) -> Position:
        """Before the first word of a text: the context word has been read."""
        return self.read(np.full(batch_size, self.ids[self.metadata["context"]]), self.zeros(batch_size))

    def score(self, text: str) -> list[float]:
        """Natural-log probability of each word of a text, the end marker last where there is one."""
        end = self.metadata["end"]
        position, scores = self.start(), []
        for word in [*self.encode(text), *([] if end is None else [self.ids[end]])]:
            score, state = self.spell(position, np.array([word]))
            scores.append(float(score[0]))
            position = self.read(np.array([word]), state)
        return scores

    def next_words(self, text: str, k: int = 10) -> tuple[list[tuple[str, float]], int]:
        """The exact k most likely next words with their probabilities, and how many rows were opened for them.

        No word is more likely than its row (its first codes): rows are opened in order of their probability until none
        that is closed is more likely than the k-th word found.
        """
        position = self.start()
        for word in self.encode(text):
            position = self.read(np.array([word]), self.spell(position, np.array([word]))[1])
        best: list[tuple[float, int]] = []  # a heap, the least likely of the k found first
        closed: list[tuple[float, int, int, State]] = []  # the most likely first: -log-probability, prefix, length
        opened = 0

        def offer(scores: Logs, prefix: int, axis: int, state: State) -> None:
            least = best[0][0] if len(best) == k else -math.inf
            # Of the last axis no more than k can be among the k best.
            last = axis == len(self.sides) - 1
            chosen = np.argsort(-scores, kind="stable")[: k if last else None]
            for code in chosen[scores[chosen] > least].tolist():
                cell, score = prefix * self.sides[axis] + code, float(scores[code])
                if not last:
                    heapq.heappush(closed, (-score, cell, axis + 1, state))
                elif len(best) < k:
                    heapq.heappush(best, (score, cell))
                else:
                    heapq.heappushpop(best, (score, cell))

        offer(position.first[0], 0, 0, position.state)
        while closed and (len(best) < k or -closed[0][0] > best[0][0]):
            of_prefix, prefix, axis, state = heapq.heappop(closed)
            scores, after = self.run(axis, np.array([prefix]), state)
            offer(scores[0] - np.float32(of_prefix), prefix, axis, after)
            opened += 1
        found = sorted(best, reverse=True)
        return [(self.words[self.word_of_cell[cell]], math.exp(score)) for score, cell in found], opened


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--next", type=int, metavar="K", help="the K most likely next words instead")
    arguments = parser.parse_args()
    if not (arguments.folder / "metadata.json").is_file():
        parser.error(f"there is no metadata.json in {arguments.folder}; give a folder written with format=onnx")
    if arguments.next is not None and arguments.next < 1:
        parser.error(f"--next must be at least 1, got {arguments.next}")
    model = OnnxModel(arguments.folder)
    for line in sys.stdin:
        if arguments.next is None:
            print(f"{math.fsum(model.score(line)):.6f}\t{line.strip()}")
        else:
            for word, probability in model.next_words(line, arguments.next)[0]:
                print(f"{word}\t{probability:.6g}")


if __name__ == "__main__":
    main()
