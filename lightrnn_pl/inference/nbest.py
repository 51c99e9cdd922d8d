"""N-best lists of translations as Moses writes them: a hypothesis a line, the lines of a sentence together.

    id ||| hypothesis ||| Name0= 0.1 0.2 Name1= 3 ||| score [||| whatever else]

Lists are read and written sentence by sentence.  What this module does not read (alignments, the features' own way of
writing numbers) is kept as it stands.  Weights, too, go by the features' names.  Knows
no model and no references.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightrnn_pl.inference.lines import text_lines

_MARK = "|||"

Features = dict[str, tuple[float, ...]]
"""The values of each feature of a hypothesis; Moses's features may have several."""


@dataclass(slots=True)
class Hypothesis:
    """One line of a list.

    Attributes:
        sentence: The number of the sentence that it translates, from 0.
        text: Its words.
        features: Their values.
        score: The list's own model score; larger is better.
        fields: The line as it was read, its parts stripped.
    """

    sentence: int
    text: str
    features: Features
    score: float
    fields: list[str]

    def add_feature(self, name: str, value: float) -> None:
        """Append a feature, to the precision with which it is written."""
        written = f"{value:.6f}"
        self.features[name] = (float(written),)
        self.fields[2] = f"{self.fields[2]} {name}= {written}".strip()

    def line(self, score: float | None = None) -> str:
        """The line as Moses writes it, with another score if one is given."""
        fields = self.fields if score is None else [*self.fields[:3], f"{score:.8g}", *self.fields[4:]]
        return f" {_MARK} ".join(fields)


@dataclass
class Malformed:
    """Lines of a list that could not be read: how many, and the first of them.

    Args:
        tell: Is called with a message for each of the first ``shown`` lines.
        shown: Lines after which only the number is counted.
    """

    tell: Callable[[str], None] = print
    shown: int = 20
    count: int = 0
    numbers: list[int] = field(default_factory=list)

    def add(self, number: int, reason: str) -> None:
        """Note that a line, counted from 1, was left out, and why."""
        self.count += 1
        if self.count <= self.shown:
            self.numbers.append(number)
            self.tell(f"line {number} left out: {reason}")


def parse_line(line: str) -> Hypothesis:
    """Read one line.

    Raises:
        ValueError: Saying what is wrong with it.
    """
    fields = [part.strip() for part in line.split(_MARK)]
    if len(fields) < 4:
        raise ValueError(f"{len(fields)} fields between '{_MARK}', but id, hypothesis, features and score are needed")
    if not (fields[0].isascii() and fields[0].isdigit()):
        raise ValueError(f"the sentence id {fields[0]!r} is no whole number from 0")
    return Hypothesis(int(fields[0]), fields[1], parse_features(fields[2]), _number(fields[3], "score"), fields)


def parse_features(text: str) -> Features:
    """Read ``Name0= 0.1 0.2 Name1= 3``; ``Name=3`` in one piece is understood too.

    Raises:
        ValueError: If a number has no name, a name no number or stands there twice, or something is no finite number.
    """
    found: dict[str, list[float]] = {}
    name = ""
    for token in text.split():
        head, equals, value = token.rpartition("=")
        if equals:
            if name and not found[name]:
                raise ValueError(f"feature {name!r} has no value")
            name = head
            if not name or name in found:
                raise ValueError(f"feature {name!r} stands there twice" if name else f"{token!r} names no feature")
            found[name] = [_number(value, name)] if value else []
        elif not name:
            raise ValueError(f"the feature value {token!r} comes before any name; features are written Name= value")
        else:
            found[name].append(_number(token, name))
    if name and not found[name]:
        raise ValueError(f"feature {name!r} has no value")
    return {name: tuple(values) for name, values in found.items()}


def read_nbest(
    lines: Iterable[bytes], malformed: Malformed, layout: Layout | None = None
) -> Iterator[list[Hypothesis]]:
    """The hypotheses of one sentence after the other; only one sentence is held.

    Args:
        lines: Those of a file.
        malformed: Is told of lines that cannot be read; they are left out.
        layout: Leaves out, too, what has another number of values for a feature, and learns names that are new.

    Raises:
        ValueError: Naming the line at which a sentence comes after one with a larger number.
    """
    group: list[Hypothesis] = []
    for number, line in enumerate(lines, start=1):
        try:
            hypothesis = parse_line(line.decode("utf-8-sig" if number == 1 else "utf-8"))
            if layout is not None:
                layout.learn(hypothesis.features)
        except UnicodeDecodeError as error:
            malformed.add(number, f"not UTF-8 ({error.reason})")
            continue
        except ValueError as error:
            malformed.add(number, str(error))
            continue
        if group and hypothesis.sentence != group[0].sentence:
            if hypothesis.sentence < group[0].sentence:
                raise ValueError(
                    f"line {number}: sentence {hypothesis.sentence} comes after sentence {group[0].sentence}; the "
                    "lines of a sentence belong together, in ascending order: sort the list (sort -s -n -k 1,1)"
                )
            yield group
            group = []
        group.append(hypothesis)
    if group:
        yield group


class Layout:
    """Which feature value stands in which column of a matrix.

    Args:
        sizes: Number of values of each feature, in the order of their columns.
    """

    def __init__(self, sizes: Mapping[str, int] | None = None) -> None:
        self.sizes = dict(sizes or {})

    @property
    def num_columns(self) -> int:
        """D."""
        return sum(self.sizes.values())

    def learn(self, features: Features) -> None:
        """Append columns for names that are new; the first of a name says how many values it has.

        Raises:
            ValueError: If a feature has another number of values than before.
        """
        for name, values in features.items():
            if self.sizes.setdefault(name, len(values)) != len(values):
                raise ValueError(f"feature {name!r} has {len(values)} values, not {self.sizes[name]} as before")

    def check(self, other: Layout) -> None:
        """Refuse another list's layout where a feature has another number of values.

        Raises:
            ValueError: Naming the feature.
        """
        for name, size in self.sizes.items():
            if other.sizes.get(name, size) != size:
                raise ValueError(f"feature {name!r} has {other.sizes[name]} values in the list, but {size} weights")

    def matrix(self, group: Sequence[Hypothesis]) -> NDArray[np.float64]:
        """The feature values of hypotheses, (N, D); zero where one is missing, and what has no column is left out."""
        values = np.zeros((len(group), self.num_columns))
        starts = self._starts()
        for row, hypothesis in zip(values, group, strict=True):
            for name, found in hypothesis.features.items():
                if name in starts:
                    row[starts[name] : starts[name] + len(found)] = found
        return values

    def vector(self, weights: Mapping[str, Any]) -> NDArray[np.float64]:
        """Weights by name, a number or a list of them, as the columns stand, (D,); zero for names that are missing.

        Raises:
            ValueError: If a feature has another number of weights than values, or they are no numbers.
        """
        vector = np.zeros(self.num_columns)
        for name, start in self._starts().items():
            try:
                given = np.atleast_1d(np.asarray(weights.get(name, np.zeros(self.sizes[name])), dtype=np.float64))
            except (TypeError, ValueError):
                raise ValueError(f"the weights of feature {name!r} are no numbers: {weights[name]}") from None
            if given.shape != (self.sizes[name],) or not np.isfinite(given).all():
                raise ValueError(f"feature {name!r} has {self.sizes[name]} values, its weights are {weights[name]}")
            vector[start : start + len(given)] = given
        return vector

    def named(self, vector: NDArray[np.float64]) -> dict[str, list[float]]:
        """The other way: weights by name."""
        return {name: vector[start : start + self.sizes[name]].tolist() for name, start in self._starts().items()}

    def _starts(self) -> dict[str, int]:
        ends = np.cumsum([0, *self.sizes.values()])
        return dict(zip(self.sizes, ends.tolist(), strict=False))


def read_weights(source: str | Mapping[str, Any]) -> dict[str, Any]:
    """Weights by feature: a mapping, a JSON file, or a file with lines ``Name= 0.1 0.2`` as moses.ini has them.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no weights.
    """
    if not isinstance(source, str):
        return {str(name): _plain(values) for name, values in source.items()}
    lines = list(text_lines(source))
    if Path(source).suffix == ".json":
        try:
            found = json.loads("\n".join(lines))
        except json.JSONDecodeError as error:
            raise ValueError(f"weights={source} is no JSON: {error}") from None
        if not isinstance(found, dict):
            raise ValueError(f"weights={source} should hold an object, feature name to weights")
        return found
    weights = {}
    for line in lines:
        name, equals, values = line.partition("=")
        try:
            numbers = [float(value) for value in values.split()]
        except ValueError:
            continue
        if equals and numbers and len(name.split()) == 1:
            weights[name.strip()] = numbers
    if not weights:
        raise ValueError(f"weights={source} holds no line like 'Name= 0.1 0.2'; JSON files are named .json")
    return weights


def _plain(values: Any) -> Any:
    return values if isinstance(values, int | float) else list(values)


def _number(text: str, what: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{what}: {text!r} is no finite number")
    return number
