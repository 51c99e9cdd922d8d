"""Word tables as human-readable files: one line per word, with the word and its codes.

The suffix selects the format: ``.tsv`` (separated by tabs), ``.csv`` (separated by commas, quoted where needed) or
``.parquet``.  The columns are ``word, row, column`` for k = 2, and ``word, code_0, code_1, ...`` otherwise.
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
    """Column names of a word's codes."""
    return ["row", "column"] if num_components == 2 else [f"code_{axis}" for axis in range(num_components)]


def write_table(path: str | Path, allocation: WordAllocation, words: Sequence[str]) -> None:
    """Write a word table atomically; the suffix of the path selects the format.

    Args:
        path: A .tsv, .csv or .parquet file.
        allocation: The codes to write.
        words: All words of the vocabulary, in the order of their ids.

    Raises:
        ValueError: If the suffix is unknown, or the number of words differs from that of the allocation.
    """
    path = Path(path)
    if len(words) != allocation.num_words:
        raise ValueError(
            f"got {len(words)} words for a table with {allocation.num_words}; pass every word of the vocabulary"
        )
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
        writer.writerows([word, *word_codes] for word, word_codes in zip(words, codes, strict=True))


def read_table(path: str | Path, words: Sequence[str]) -> tuple[Int[Tensor, "V k"], tuple[int, ...]]:
    """Read the codes of ``words`` from a file.

    The file may list the words in any order, but must list each of them exactly once.

    Returns:
        The codes (V, k), and the smallest sides of a table that contains them.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If a line is malformed, if a word is missing, unknown or duplicated, or if two words share a cell.
            The message names the line or the words.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"word table {path} does not exist; set allocation.path to a .tsv, .csv or .parquet file"
        )
    ids = {word: number for number, word in enumerate(words)}
    codes_by_id: dict[int, list[int]] = {}
    cells: dict[tuple[int, ...], str] = {}
    unknown = []
    for location, word, codes in _entries(path):
        if word not in ids:
            unknown.append(word)
            continue
        if ids[word] in codes_by_id:
            raise ValueError(f"{location}: the word {word!r} is duplicated; keep one of its cells")
        if tuple(codes) in cells:
            raise ValueError(
                f"{location}: {word!r} and {cells[tuple(codes)]!r} share the cell {codes}; each word needs its own cell"
            )
        codes_by_id[ids[word]] = codes
        cells[tuple(codes)] = word
    if unknown:
        raise ValueError(
            f"{path} lists {len(unknown)} words that are not in the vocabulary: {_abbreviate(unknown)}; create the "
            "table with the same vocabulary, or remove these lines"
        )
    missing = [word for number, word in enumerate(words) if number not in codes_by_id]
    if missing:
        raise ValueError(
            f"{path} has no cell for {len(missing)} of the vocabulary's {len(words)} words: {_abbreviate(missing)}; "
            "add them"
        )
    table = torch.tensor([codes_by_id[number] for number in range(len(words))])
    return table, tuple((table.max(0).values + 1).tolist())


def _entries(path: Path) -> Iterator[tuple[str, str, list[int]]]:
    """Location (for messages), word and codes of each entry."""
    if _suffix(path) == ".parquet":
        import pyarrow.parquet

        columns = pyarrow.parquet.read_table(path)
        rows = zip(*(column.to_pylist() for column in columns.itercolumns()), strict=True)
        yield from _parse_rows(path, [columns.column_names, *map(list, rows)])
        return
    try:
        with path.open(encoding="utf-8", newline="") as file:
            yield from _parse_rows(path, list(csv.reader(file, delimiter=_SEPARATORS[_suffix(path)])))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error}); save it as UTF-8") from error
    except csv.Error as error:
        raise ValueError(
            f"{path} cannot be read: {error}; quote words that begin with a quotation mark, and double the quotation "
            'marks in them: """"'
        ) from error


def _parse_rows(path: Path, rows: list[list]) -> Iterator[tuple[str, str, list[int]]]:
    if not rows or len(rows[0]) < 2 or list(rows[0]) != ["word", *code_names(len(rows[0]) - 1)]:
        raise ValueError(f"{path} must begin with the header word, row, column (or word, code_0, code_1, ...)")
    for number, row in enumerate(rows[1:], start=2):
        location = f"{path}, entry {number}"
        if not row:
            continue
        if len(row) != len(rows[0]):
            raise ValueError(f"{location}: expected {len(rows[0])} fields, as in the header, got {len(row)}: {row}")
        try:
            codes = [int(code) for code in row[1:]]
        except (TypeError, ValueError) as error:
            raise ValueError(f"{location}: the codes of {row[0]!r} are not integers: {row[1:]}") from error
        if min(codes) < 0:
            raise ValueError(f"{location}: {row[0]!r} has a negative code: {codes}; codes start at 0")
        yield location, row[0], codes


def _suffix(path: Path) -> str:
    if path.suffix not in (*_SEPARATORS, ".parquet"):
        raise ValueError(f"{path} has an unknown suffix; use .tsv, .csv or .parquet")
    return path.suffix


def _abbreviate(words: list[str]) -> str:
    return ", ".join(map(repr, words[:5])) + (", ..." if len(words) > 5 else "")
