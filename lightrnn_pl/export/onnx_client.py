"""Runs an ONNX export with numpy and onnxruntime only; a template for clients in other languages.

    python client.py FOLDER                        # for each line of standard input: log-probability, tab, the line
    python client.py FOLDER --next 10              # the ten most likely next words of each line
    python client.py FOLDER --next 3 --complete    # the last letters of each line are the start of the next word

The next words of each line are followed by an empty line.  Messages go to standard error.

Each export contains a copy of this file, so it must not import other modules of this package.  ``metadata.json``
describes the graphs, their inputs and outputs, and the order in which they are called.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import heapq
import json
import math
import os
import sys
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_VERSION = 2
_MAX_CELLS = 2**31
_MAX_EXPANSION = 100
_TABLE_TYPES = ("uint8", "uint16", "uint32")
Ids = NDArray[np.int64]
Logs = NDArray[np.float32]
State = list[NDArray[np.float32]]


def fingerprint(metadata: dict[str, Any]) -> str:
    """SHA-256 of the metadata, without the fingerprint itself."""
    content = {key: value for key, value in metadata.items() if key != "fingerprint"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class Position(NamedTuple):
    """The position of B texts between two words.

    Attributes:
        first: Log-probabilities of the first code of the next word, (B, side).
        state: The recurrent state.
    """

    first: Logs
    state: State


class OnnxModel:
    """A model that was exported by ``lightrnn-export format=onnx``.

    Args:
        folder: The folder of the export.
        threads: Number of threads of onnxruntime.

    Raises:
        ValueError: If a file is missing or damaged.
    """

    def __init__(self, folder: str | Path, threads: int = 1) -> None:
        try:
            self._read(Path(folder), threads)
        except ModuleNotFoundError:
            raise
        except Exception as error:  # onnxruntime and invalid metadata cause many kinds of exceptions
            reason = " ".join(str(error).split())[:400] or type(error).__name__
            raise ValueError(f"{folder} is damaged or was not written by lightrnn-export: {reason}") from error

    def _read(self, folder: Path, threads: int) -> None:
        self.metadata: dict[str, Any] = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
        if self.metadata["version"] != _VERSION:
            raise ValueError(
                f"it has version {self.metadata['version']!s:.20}, but this client reads version {_VERSION}; use the "
                "client.py in the folder, or export the model again"
            )
        if "fingerprint" in self.metadata:
            if self.metadata["fingerprint"] != fingerprint(self.metadata):
                raise ValueError("metadata.json was changed")
            for name, expected in self.metadata["sha256"].items():
                with (folder / name).open("rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() != expected:
                        raise ValueError(f"{name} was changed")
        for name in [*(graph["file"] for graph in self.metadata["graphs"]), self.metadata["vocabulary"]]:
            if Path(name).name != name:
                raise ValueError(f"{name} is not the name of a file in the folder")
        self._graphs = self._open_graphs(folder, threads)
        self.words = self._vocabulary(folder / self.metadata["vocabulary"])
        self.ids = {word: number for number, word in enumerate(self.words)}
        self.sides: list[int] = self.metadata["sides"]
        self.codes = self._table(folder)
        cells = np.ravel_multi_index(tuple(self.codes.T), self.sides)
        if len(self.ids) != len(self.words) or len(self.metadata["graphs"]) != len(self.sides):
            raise ValueError("the vocabulary contains a word twice, or the number of graphs is not that of the sides")
        if math.prod(self.sides) > _MAX_CELLS:
            raise ValueError(f"the table with sides {self.sides} is too large")
        self.word_of_cell = np.full(math.prod(self.sides), -1, dtype=np.int64)
        self.word_of_cell[cells] = np.arange(len(self.words))
        if any(self.metadata[key] not in (None, *self.ids) for key in ("context", "unknown", "end")):
            raise ValueError("a marker is not in the vocabulary")
        self.spell(self.start(), np.array([0]))  # checks the inputs and outputs of all graphs

    def _open_graphs(self, folder: Path, threads: int) -> list[Any]:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        return [
            onnxruntime.InferenceSession(str(folder / graph["file"]), options, providers=["CPUExecutionProvider"])
            for graph in self.metadata["graphs"]
        ]

    def _table(self, folder: Path) -> Ids:
        """The codes of each word, (V, k); with one code per word, the code is the word id."""
        if self.metadata["table"] is None:
            return np.arange(len(self.words))[:, None]
        if self.metadata["table_type"] not in _TABLE_TYPES:
            raise ValueError(f"table_type {self.metadata['table_type']!s:.20} is not one of {', '.join(_TABLE_TYPES)}")
        data = (folder / Path(self.metadata["table"]).name).read_bytes()
        codes = np.frombuffer(data, np.dtype(self.metadata["table_type"]).newbyteorder("<"))
        return codes.reshape(len(self.words), len(self.sides)).astype(np.int64)

    def _vocabulary(self, path: Path) -> list[str]:
        """The words in the order of their ids."""
        limit = _MAX_EXPANSION * path.stat().st_size
        with gzip.open(path) as file:
            content = file.read(limit + 1)
        if len(content) > limit:
            raise ValueError(f"the content of {path.name} is more than {_MAX_EXPANSION} times as large as the file")
        return [line.split("\t")[0] for line in content.decode("utf-8").split("\n")[1:] if line]

    def encode(self, text: str) -> Ids:
        """Ids of the whitespace-separated words of a text; words outside the vocabulary become the unknown word.

        Raises:
            ValueError: If a word is not in the vocabulary, and there is no unknown word.
        """
        words, unknown = text.split(), self.metadata["unknown"]
        if unknown is None and (outside := self.outside(text)):
            raise ValueError(f"{outside[0]} is not in the vocabulary, which has no unknown word")
        return np.array([self.ids[word if word in self.ids else unknown] for word in words], dtype=np.int64)

    def outside(self, text: str) -> list[str]:
        """The different words of a text that are not in the vocabulary."""
        return [word for word in dict.fromkeys(text.split()) if word not in self.ids]

    def zeros(self, batch_size: int) -> State:
        """The initial state."""
        return [
            np.zeros((part["layers"], batch_size, part["size"]), dtype=np.float32) for part in self.metadata["state"]
        ]

    def run(self, axis: int, read: Ids, state: State) -> tuple[Logs, State]:
        """Run a graph; returns the log-probabilities of code ``axis``, (N, side), and the next state."""
        graph = self.metadata["graphs"][axis]
        inputs = dict(zip(graph["inputs"], [read, *state], strict=True))
        scores, *after = self._graphs[axis].run(graph["outputs"], inputs)
        return scores, after

    def read(self, words: Ids, state: State) -> Position:
        """Read a word of each text, (B,); ``state`` is that after its codes, from :meth:`spell`."""
        reads_last_code = self.metadata["graphs"][0]["reads"] == "last code"
        return Position(*self.run(0, self.codes[words, -1] if reads_last_code else words, state))

    def spell(self, position: Position, words: Ids) -> tuple[Logs, State]:
        """Log-probability of a word of each text, (B,), and the state after its codes, for :meth:`read`."""
        codes, batch = self.codes[words], np.arange(len(words))
        total, state, prefix = position.first[batch, codes[:, 0]], position.state, codes[:, 0]
        for axis in range(1, len(self.sides)):
            scores, state = self.run(axis, prefix, state)
            total = total + scores[batch, codes[:, axis]]
            prefix = prefix * self.sides[axis] + codes[:, axis]
        return total, state

    def start(self, batch_size: int = 1) -> Position:
        """The position before the first word of a text, after reading the context word."""
        return self.read(np.full(batch_size, self.ids[self.metadata["context"]]), self.zeros(batch_size))

    def score(self, text: str) -> list[float]:
        """Natural-log probability of each word of a text, followed by that of the end marker, if there is one."""
        end = self.metadata["end"]
        position, scores = self.start(), []
        for word in [*self.encode(text), *([] if end is None else [self.ids[end]])]:
            score, state = self.spell(position, np.array([word]))
            scores.append(float(score[0]))
            position = self.read(np.array([word]), state)
        return scores

    def next_words(
        self, text: str, k: int = 10, prefix: str = "", unknown: bool = False
    ) -> tuple[list[tuple[str, float]], int]:
        """The exact k most likely next words with their probabilities, and the number of rows that were opened.

        A word cannot be more likely than its row (its first codes).  Rows are therefore opened in order of their
        probability, until no closed row is more likely than the k-th best word.

        Args:
            text: The preceding words of the line.
            k: Number of words.
            prefix: Only words that start with these letters, ignoring case, are returned.
            unknown: Whether the unknown word may be returned.  Probabilities are those of the model in any case, so
                that those of all other words sum to less than one.
        """
        reachable = self._reachable(prefix, unknown)
        position = self.start()
        for word in self.encode(text):
            position = self.read(np.array([word]), self.spell(position, np.array([word]))[1])
        best: list[tuple[float, int]] = []  # a heap of the k best cells, least likely first
        closed: list[tuple[float, int, int, State]] = []  # a heap, most likely first: -log-probability, codes, axis
        opened = 0

        def push(scores: Logs, codes: int, axis: int, state: State) -> None:
            threshold = best[0][0] if len(best) == k else -math.inf
            last = axis == len(self.sides) - 1
            scores = np.where(reachable[axis][codes * self.sides[axis] :][: self.sides[axis]], scores, -np.inf)
            candidates = np.argsort(-scores, kind="stable")[: k if last else None]
            for code in candidates[scores[candidates] > threshold].tolist():
                cell, score = codes * self.sides[axis] + code, float(scores[code])
                if not last:
                    heapq.heappush(closed, (-score, cell, axis + 1, state))
                elif len(best) < k:
                    heapq.heappush(best, (score, cell))
                else:
                    heapq.heappushpop(best, (score, cell))

        push(position.first[0], 0, 0, position.state)
        while closed and (len(best) < k or -closed[0][0] > best[0][0]):
            loss, codes, axis, state = heapq.heappop(closed)
            scores, after = self.run(axis, np.array([codes]), state)
            push(scores[0] - np.float32(loss), codes, axis, after)
            opened += 1
        ranked = sorted(best, reverse=True)
        return [(self.words[self.word_of_cell[cell]], math.exp(score)) for score, cell in ranked], opened

    @cached_property
    def _folded(self) -> list[str]:
        """The words without distinction of upper and lower case, to complete typed letters."""
        return [word.casefold() for word in self.words]

    def _reachable(self, prefix: str, unknown: bool) -> list[NDArray[np.bool_]]:
        """For each axis, whether the codes up to it are those of a word that may be returned, (product of sides,)."""
        allowed = np.ones(len(self.words) + 1, dtype=bool)
        allowed[-1] = False  # empty cells
        if prefix:
            folded = prefix.casefold()
            allowed[:-1] = [word.startswith(folded) for word in self._folded]
        if not unknown and self.metadata["unknown"] is not None:
            allowed[self.ids[self.metadata["unknown"]]] = False
        cells = allowed[self.word_of_cell]
        return [np.any(cells.reshape(math.prod(self.sides[: axis + 1]), -1), axis=1) for axis in range(len(self.sides))]


def main() -> None:
    """Score lines of standard input, or print their most likely next words."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--next", type=int, metavar="K", help="print the K most likely next words")
    parser.add_argument(
        "--complete", action="store_true", help="the letters after the last space are the start of the next word"
    )
    parser.add_argument("--unknown", action="store_true", help="list the unknown word as well")
    arguments = parser.parse_args()
    if not (arguments.folder / "metadata.json").is_file():
        parser.error(
            f"{arguments.folder} does not contain metadata.json; pass a folder written with format=onnx or onnx_int8"
        )
    if arguments.next is not None and arguments.next < 1:
        parser.error(f"--next must be at least 1, got {arguments.next}")
    if arguments.next is None and (arguments.complete or arguments.unknown):
        parser.error("--complete and --unknown require --next")
    try:
        model = OnnxModel(arguments.folder)
        unknown = 0
        if sys.stdin.isatty():
            _print_message("reading standard input; end with Ctrl-D")
        for line in sys.stdin:
            if arguments.next is None:
                print(f"{math.fsum(model.score(line)):.6f}\t{line.strip()}")
                unknown += sum(word not in model.ids for word in line.split())
            else:
                _print_next_words(model, line, arguments)
        sys.stdout.flush()
    except ValueError as error:
        parser.error(str(error))
    except BrokenPipeError:  # the reader has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # otherwise, Python reports it at exit
    if unknown:
        _print_message(f"unknown words: {unknown:,}, scored as {model.metadata['unknown']}")


def _print_next_words(model: OnnxModel, line: str, arguments: argparse.Namespace) -> None:
    text, prefix = line, ""
    if arguments.complete:
        text, _, prefix = line.rstrip("\r\n").rpartition(" ")
    if model.metadata["unknown"] is not None and (outside := model.outside(text)):
        _print_message(f"not in the vocabulary, read as {model.metadata['unknown']}: {' '.join(outside)}")
    best, _ = model.next_words(text, arguments.next, prefix, arguments.unknown)
    if not best:
        _print_message(f"no word of the vocabulary starts with {prefix}")
    for word, probability in best:
        print(f"{word}\t{probability:.6g}")
    print(flush=True)


def _print_message(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
