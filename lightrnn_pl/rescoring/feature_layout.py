"""Features of hypotheses as columns of a matrix, and their weights by name (in Moses: ``Name= 0.1 0.2``)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightrnn_pl.inference.text_lines import text_lines

Features = dict[str, tuple[float, ...]]
"""The values of each feature of a hypothesis.  A feature in Moses may have several values."""


class FeatureLayout:
    """The assignment of feature values to the columns of a matrix.

    Args:
        sizes: Number of values of each feature, in the order of the columns.
    """

    def __init__(self, sizes: Mapping[str, int] | None = None) -> None:
        self.sizes = dict(sizes or {})

    @property
    def num_columns(self) -> int:
        """D, the number of columns."""
        return sum(self.sizes.values())

    def check_features(self, features: Features) -> None:
        """Check the number of values of each feature.

        Raises:
            ValueError: If a feature has a different number of values than columns.
        """
        for name, values in features.items():
            if self.sizes[name] != len(values):
                raise ValueError(f"feature {name!r} has {len(values)} values, but {self.sizes[name]} in other lines")

    def check_compatible(self, other: FeatureLayout) -> None:
        """Check that shared features have the same number of values in the layout of another list.

        Raises:
            ValueError: Naming the feature.
        """
        for name, size in self.sizes.items():
            if other.sizes.get(name, size) != size:
                raise ValueError(f"feature {name!r} has {other.sizes[name]} values in the list, but {size} weights")

    def matrix(self, rows: Sequence[Features]) -> NDArray[np.float64]:
        """The values of N hypotheses, (N, D).  Missing features are zero, and features without a column are omitted."""
        values = np.zeros((len(rows), self.num_columns))
        starts = self._starts()
        for row, features in zip(values, rows, strict=True):
            for name, feature_values in features.items():
                if name in starts:
                    row[starts[name] : starts[name] + len(feature_values)] = feature_values
        return values

    def vector(self, weights: Mapping[str, Any]) -> NDArray[np.float64]:
        """Weights in the order of the columns, (D,).

        Args:
            weights: A number or a list of numbers for each feature.  Weights of missing features are zero.

        Raises:
            ValueError: If a feature has a different number of weights than values, or a weight is not a finite number.
        """
        vector = np.zeros(self.num_columns)
        for name, start in self._starts().items():
            try:
                values = np.atleast_1d(np.asarray(weights.get(name, np.zeros(self.sizes[name])), dtype=np.float64))
            except (TypeError, ValueError):
                raise ValueError(f"the weights of feature {name!r} are not numbers: {weights[name]}") from None
            if values.shape != (self.sizes[name],) or not np.isfinite(values).all():
                raise ValueError(f"feature {name!r} has {self.sizes[name]} values, but its weights are {weights[name]}")
            vector[start : start + len(values)] = values
        return vector

    def by_name(self, vector: NDArray[np.float64]) -> dict[str, list[float]]:
        """The weights in ``vector`` by name, the inverse of :meth:`vector`."""
        return {name: vector[start : start + self.sizes[name]].tolist() for name, start in self._starts().items()}

    def _starts(self) -> dict[str, int]:
        ends = np.cumsum([0, *self.sizes.values()])
        return dict(zip(self.sizes, ends.tolist(), strict=False))


def read_weights(source: str | Mapping[str, Any]) -> dict[str, Any]:
    """Weights by feature, from a mapping, a JSON file, or a file with lines ``Name= 0.1 0.2`` such as moses.ini.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file contains no weights.
    """
    if not isinstance(source, str):
        return {str(name): _plain(values) for name, values in source.items()}
    lines = list(text_lines(source))
    if Path(source).suffix == ".json":
        try:
            weights = json.loads("\n".join(lines))
        except json.JSONDecodeError as error:
            raise ValueError(f"weights={source} is not valid JSON: {error}") from None
        if not isinstance(weights, dict):
            raise ValueError(f"weights={source} must contain an object that maps feature names to weights")
        return weights
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
        raise ValueError(f"weights={source} contains no line such as 'Name= 0.1 0.2'; JSON files must be named .json")
    return weights


def _plain(values: Any) -> Any:
    return values if isinstance(values, int | float) else list(values)
