"""Word tables as files that people read and edit: one line a word, the word and its codes.

``.tsv`` separates by tabs, ``.csv`` by commas (quoted where needed) and ``.parquet`` has columns.  The columns are
``word, row, column`` for the paper's table, ``word, code_0, ...`` for any other number of codes.  Knows nothing of
checkpoints.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.files import atomic_write

_SEPARATORS = {".tsv": "\t", ".csv": ","}


def code_names(num_components: int) -> list[str]:
    """Names of the columns that hold a word's codes."""
    return ["row", "column"] if num_components == 2 else [f"code_{axis}" for axis in range(num_components)]


def write_table(path: str | Path, allocation: WordAllocation, words: Sequence[str]) -> None:
    """Write the table of ``words`` (their order is that of the ids), atomically; the suffix chooses the format."""
    path = Path(path)
    if len(words) != allocation.num_words:
        raise ValueError(f"{len(words)} words for a table of {allocation.num_words}; give every word of the vocabulary")
    names, codes = ["word", *code_names(allocation.num_components)], allocation.codes.tolist()
    if _suffix(path) == ".parquet":
        import pyarrow
        import pyarrow.parquet

        columns = [list(words), *map(list, zip(*codes, strict=True))]
        with atomic_write(path) as file:
            pyarrow.parquet.write_table(pyarrow.table(columns, names=names), file)
        return
    with atomic_write(path, "w") as file:
        writer = csv.writer(file, delimiter=_SEPARATORS[_suffix(path)], lineterminator="\n")
        writer.writerow(names)
        writer.writerows([word, *spelling] for word, spelling in zip(words, codes, strict=True))


def read_table(path: str | Path, words: Sequence[str]) -> tuple[Int[Tensor, "V k"], tuple[int, ...]]:
    """Codes of ``words`` as a file has them, and the smallest sides that hold them.

    The file may list the words in any order and must list every one of them once.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: With the line or the words meant, for a broken line, words that are missing, unknown or listed
            twice, and cells given to two words.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no word table at {path}; give allocation.path a .tsv, .csv or .parquet file")
    ids = {word: number for number, word in enumerate(words)}
    spelled: dict[int, list[int]] = {}
    cells: dict[tuple[int, ...], str] = {}
    unknown = []
    for place, word, codes in _entries(path):
        if word not in ids:
            unknown.append(word)
            continue
        if ids[word] in spelled:
            raise ValueError(f"{place}: the word {word!r} is listed a second time; keep one of its cells")
        if tuple(codes) in cells:
            raise ValueError(
                f"{place}: {word!r} and {cells[tuple(codes)]!r} share the cell {codes}; each needs its own"
            )
        spelled[ids[word]] = codes
        cells[tuple(codes)] = word
    if unknown:
        raise ValueError(
            f"{path} lists {len(unknown)} words that the vocabulary does not have: {_some(unknown)}; make the table "
            "from the same vocabulary, or take these lines out"
        )
    missing = [word for number, word in enumerate(words) if number not in spelled]
    if missing:
        raise ValueError(
            f"{path} has no cell for {len(missing)} of the vocabulary's {len(words)} words: {_some(missing)}; add them"
        )
    table = torch.tensor([spelled[number] for number in range(len(words))])
    return table, tuple((table.max(0).values + 1).tolist())


def _entries(path: Path) -> Iterator[tuple[str, str, list[int]]]:
    """Place (for messages), word and codes of each entry."""
    if _suffix(path) == ".parquet":
        import pyarrow.parquet

        columns = pyarrow.parquet.read_table(path)
        rows = zip(*(column.to_pylist() for column in columns.itercolumns()), strict=True)
        yield from _parsed(path, [columns.column_names, *map(list, rows)])
        return
    try:
        with path.open(encoding="utf-8", newline="") as file:
            yield from _parsed(path, list(csv.reader(file, delimiter=_SEPARATORS[_suffix(path)])))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error}); save it as UTF-8") from error


def _parsed(path: Path, rows: list[list]) -> Iterator[tuple[str, str, list[int]]]:
    if not rows or len(rows[0]) < 2 or list(rows[0]) != ["word", *code_names(len(rows[0]) - 1)]:
        raise ValueError(f"{path} must begin with the header word, row, column (or word, code_0, code_1, ...)")
    for number, row in enumerate(rows[1:], start=2):
        place = f"{path}, entry {number}"
        if not row:
            continue
        if len(row) != len(rows[0]):
            raise ValueError(f"{place}: {len(row)} fields where the header names {len(rows[0])}: {row}")
        try:
            codes = [int(code) for code in row[1:]]
        except (TypeError, ValueError) as error:
            raise ValueError(f"{place}: the codes of {row[0]!r} are not whole numbers: {row[1:]}") from error
        if min(codes) < 0:
            raise ValueError(f"{place}: {row[0]!r} has a negative code: {codes}; codes count from 0")
        yield place, row[0], codes


def _suffix(path: Path) -> str:
    if path.suffix not in (*_SEPARATORS, ".parquet"):
        raise ValueError(f"cannot tell the format of {path}; name it .tsv, .csv or .parquet")
    return path.suffix


def _some(words: list[str]) -> str:
    return ", ".join(map(repr, words[:5])) + (", ..." if len(words) > 5 else "")
