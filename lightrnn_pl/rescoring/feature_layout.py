"""Feature values as columns of a matrix, and the weights that go with them by name (Moses's ``Name= 0.1 0.2``).

Knows names and numbers; neither lists nor where the numbers come from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightrnn_pl.inference.text_lines import text_lines

Features = dict[str, tuple[float, ...]]
"""The values of each feature of a hypothesis; Moses's features may have several."""


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

    def fit(self, features: Features) -> None:
        """Refuse features that do not fill their columns.

        Raises:
            ValueError: If one has another number of values.
        """
        for name, values in features.items():
            if self.sizes[name] != len(values):
                raise ValueError(f"feature {name!r} has {len(values)} values, not {self.sizes[name]} as in other lines")

    def check(self, other: Layout) -> None:
        """Refuse another list's layout where a feature has another number of values.

        Raises:
            ValueError: Naming the feature.
        """
        for name, size in self.sizes.items():
            if other.sizes.get(name, size) != size:
                raise ValueError(f"feature {name!r} has {other.sizes[name]} values in the list, but {size} weights")

    def matrix(self, rows: Sequence[Features]) -> NDArray[np.float64]:
        """The values of N hypotheses, (N, D); zero where one is missing, and what has no column is left out."""
        values = np.zeros((len(rows), self.num_columns))
        starts = self._starts()
        for row, features in zip(values, rows, strict=True):
            for name, found in features.items():
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
