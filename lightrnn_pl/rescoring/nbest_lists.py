"""N-best lists of translations in the format of Moses: one hypothesis per line, grouped by sentence.

    id ||| hypothesis ||| Name0= 0.1 0.2 Name1= 3 ||| score [||| more fields]

Lists are read and written sentence by sentence.  Fields that are not parsed, such as alignments, and the formatting of
numbers are preserved.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from lightrnn_pl.rescoring.feature_layout import FeatureLayout, Features

_SEPARATOR = "|||"


@dataclass(slots=True)
class Hypothesis:
    """One line of a list.

    Attributes:
        sentence: The number of the source sentence, from 0.
        text: The words of the hypothesis.
        features: The values of its features.
        score: The score in the list; higher is better.
        fields: The fields of the line without surrounding whitespace.
    """

    sentence: int
    text: str
    features: Features
    score: float
    fields: list[str]

    def add_feature(self, name: str, value: float) -> None:
        """Append a feature, rounded to the precision with which it is written."""
        formatted = f"{value:.6f}"
        self.features[name] = (float(formatted),)
        self.fields[2] = f"{self.fields[2]} {name}= {formatted}".strip()

    def line(self, score: float | None = None) -> str:
        """The line in the format of Moses, with ``score`` in place of the score if it is not None."""
        fields = self.fields if score is None else [*self.fields[:3], f"{score:.8g}", *self.fields[4:]]
        return f" {_SEPARATOR} ".join(fields)


@dataclass
class MalformedLines:
    """Counts the malformed lines of a list and reports the first ones.

    Args:
        report: Called with a message for each of the first ``max_reported`` lines.
        max_reported: Maximum number of lines to report.
        count: Number of malformed lines.
        numbers: The numbers of the reported lines, counted from 1.
    """

    report: Callable[[str], None] = print
    max_reported: int = 20
    count: int = 0
    numbers: list[int] = field(default_factory=list)

    def add(self, number: int, reason: str) -> None:
        """Record that line ``number``, counted from 1, is skipped for the given reason."""
        self.count += 1
        if self.count <= self.max_reported:
            self.numbers.append(number)
            self.report(f"line {number} skipped: {reason}")


def parse_line(line: str) -> Hypothesis:
    """Parse one line.

    Raises:
        ValueError: If the line is malformed.
    """
    if not line.strip():
        raise ValueError("empty line")
    fields = [part.strip() for part in line.split(_SEPARATOR)]
    if len(fields) < 4:
        raise ValueError(
            f'expected at least 4 fields separated by "{_SEPARATOR}" (id, hypothesis, features, score), '
            f"got {len(fields)}"
        )
    if not (fields[0].isascii() and fields[0].isdigit()):
        raise ValueError(f"the sentence id {fields[0]!r} is not a non-negative integer")
    return Hypothesis(int(fields[0]), fields[1], parse_features(fields[2]), _number(fields[3], "score"), fields)


def parse_features(text: str) -> Features:
    """Parse features written as ``Name0= 0.1 0.2 Name1= 3`` or ``Name1=3``.

    Raises:
        ValueError: If a value has no name, a name has no value or is duplicated, or a value is not finite.
    """
    features: dict[str, list[float]] = {}
    name = ""
    for token in text.split():
        head, equals, value = token.rpartition("=")
        if equals:
            if name and not features[name]:
                raise ValueError(f"feature {name!r} has no value")
            name = head
            if not name or name in features:
                raise ValueError(f"feature {name!r} is duplicated" if name else f"{token!r} is not a feature name")
            features[name] = [_number(value, name)] if value else []
        elif not name:
            raise ValueError(f"the feature value {token!r} has no name; features are written Name= value")
        else:
            features[name].append(_number(token, name))
    if name and not features[name]:
        raise ValueError(f"feature {name!r} has no value")
    return {name: tuple(values) for name, values in features.items()}


def read_nbest(
    lines: Iterable[bytes], malformed: MalformedLines, layout: FeatureLayout | None = None
) -> Iterator[list[Hypothesis]]:
    """Read the hypotheses sentence by sentence.  Only one sentence is kept in memory.

    Args:
        lines: The lines of a list.
        malformed: Receives lines that cannot be parsed, or whose sentence number is out of place.  They are skipped.
        layout: If given, hypotheses whose features have a different number of values are skipped as well, and features
            that are new are added to the layout.

    Raises:
        ValueError: If sentences are not in ascending order.  The message contains the line.
    """
    for group in _by_sentence(_parsed(lines, malformed), malformed):
        if layout is not None:
            group = _with_valid_sizes(group, layout, malformed)
        if group:
            yield [hypothesis for _, hypothesis in group]


_Numbered = tuple[int, Hypothesis]
"""The number of a line and its hypothesis."""


def _parsed(lines: Iterable[bytes], malformed: MalformedLines) -> Iterator[_Numbered]:
    for number, line in enumerate(lines, start=1):
        try:
            yield number, parse_line(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError as error:
            malformed.add(number, f"not UTF-8 ({error.reason})")
        except ValueError as error:
            malformed.add(number, str(error))


def _by_sentence(hypotheses: Iterator[_Numbered], malformed: MalformedLines) -> Iterator[list[_Numbered]]:
    group: list[_Numbered] = []
    skipped_sentence = -1
    following = next(hypotheses, None)
    while following is not None:
        (number, hypothesis), following = following, next(hypotheses, None)
        last, sentence = group[-1][1].sentence if group else 0, hypothesis.sentence
        after = sentence if following is None else following[1].sentence
        # A single line out of order has a damaged number.  If it occurs again, the list itself is not in order.
        if group and after >= last and not last <= sentence <= after and sentence != skipped_sentence:
            malformed.add(number, f"sentence {sentence} is out of place between sentences {last} and {after}")
            skipped_sentence = sentence
            continue
        if group and sentence != last:
            if sentence < last:
                raise ValueError(
                    f"line {number}: sentence {sentence} comes after sentence {last}; sort the lines by "
                    "sentence id (sort -s -n -k 1,1)"
                )
            yield group
            group = []
        group.append((number, hypothesis))
    if group:
        yield group


def _with_valid_sizes(group: list[_Numbered], layout: FeatureLayout, malformed: MalformedLines) -> list[_Numbered]:
    """The hypotheses whose features match the layout.  New features get the size that most hypotheses have."""
    sizes: dict[str, Counter[int]] = {}
    for _, hypothesis in group:
        for name, values in hypothesis.features.items():
            if name not in layout.sizes:
                sizes.setdefault(name, Counter())[len(values)] += 1
    layout.sizes.update({name: counts.most_common(1)[0][0] for name, counts in sizes.items()})
    kept = []
    for number, hypothesis in group:
        try:
            layout.check_features(hypothesis.features)
        except ValueError as error:
            malformed.add(number, str(error))
        else:
            kept.append((number, hypothesis))
    return kept


def _number(text: str, name: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{name}: {text!r} is not a finite number")
    return number
