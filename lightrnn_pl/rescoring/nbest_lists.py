"""N-best lists of translations as Moses writes them: a hypothesis a line, the lines of a sentence together.

    id ||| hypothesis ||| Name0= 0.1 0.2 Name1= 3 ||| score [||| whatever else]

Lists are read and written sentence by sentence.  What this module does not read (alignments, the features' own way of
writing numbers) is kept as it stands.  Knows no model and no references.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from lightrnn_pl.rescoring.feature_layout import Features, Layout

_MARK = "|||"


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
    if not line.strip():
        raise ValueError("an empty line")
    fields = [part.strip() for part in line.split(_MARK)]
    if len(fields) < 4:
        raise ValueError(f"{len(fields)} fields between '{_MARK}', but id, hypothesis, features and score are needed")
    if not (fields[0].isascii() and fields[0].isdigit()):
        raise ValueError(f"the sentence id {fields[0]!r} is no whole number from 0")
    return Hypothesis(int(fields[0]), fields[1], parse_features(fields[2]), _number(fields[3], "score"), fields)


def parse_features(text: str) -> Features:
    """Read ``Name0= 0.1 0.2 Name1= 3``; ``Name=3`` in one piece is understood too.

    Raises:
        ValueError: If a number has no name, a name has no number or is duplicated, or a value is not finite.
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
                raise ValueError(f"feature {name!r} is duplicated" if name else f"{token!r} is not a feature name")
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
        malformed: Called with lines that cannot be read, or whose sentence does not belong where they stand; they are
            left out.
        layout: Leaves out, too, what has another number of values for a feature, and learns names that are new.

    Raises:
        ValueError: Naming the line at which a sentence comes after one with a larger number.
    """
    for group in _by_sentence(_parsed(lines, malformed), malformed):
        if layout is not None:
            group = _fitting(group, layout, malformed)
        if group:
            yield [hypothesis for _, hypothesis in group]


_Numbered = tuple[int, Hypothesis]
"""A hypothesis and the number of its line."""


def _parsed(lines: Iterable[bytes], malformed: Malformed) -> Iterator[_Numbered]:
    for number, line in enumerate(lines, start=1):
        try:
            yield number, parse_line(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError as error:
            malformed.add(number, f"not UTF-8 ({error.reason})")
        except ValueError as error:
            malformed.add(number, str(error))


def _by_sentence(hypotheses: Iterator[_Numbered], malformed: Malformed) -> Iterator[list[_Numbered]]:
    group: list[_Numbered] = []
    stray = -1
    following = next(hypotheses, None)
    while following is not None:
        (number, hypothesis), following = following, next(hypotheses, None)
        last, sentence = group[-1][1].sentence if group else 0, hypothesis.sentence
        after = sentence if following is None else following[1].sentence
        # One line among others in order has a damaged number; were it the same again, the list would not be in order.
        if group and after >= last and not last <= sentence <= after and sentence != stray:
            malformed.add(number, f"sentence {sentence} does not belong between sentences {last} and {after}")
            stray = sentence
            continue
        if group and sentence != last:
            if sentence < last:
                raise ValueError(
                    f"line {number}: sentence {sentence} comes after sentence {last}; the lines of a sentence belong "
                    "together, in ascending order: sort the list (sort -s -n -k 1,1)"
                )
            yield group
            group = []
        group.append((number, hypothesis))
    if group:
        yield group


def _fitting(group: list[_Numbered], layout: Layout, malformed: Malformed) -> list[_Numbered]:
    """The hypotheses whose features have as many values as the layout says; names new to it are as most have them."""
    sizes: dict[str, Counter[int]] = {}
    for _, hypothesis in group:
        for name, values in hypothesis.features.items():
            if name not in layout.sizes:
                sizes.setdefault(name, Counter())[len(values)] += 1
    layout.sizes.update({name: counts.most_common(1)[0][0] for name, counts in sizes.items()})
    kept = []
    for number, hypothesis in group:
        try:
            layout.fit(hypothesis.features)
        except ValueError as error:
            malformed.add(number, str(error))
        else:
            kept.append((number, hypothesis))
    return kept


def _number(text: str, what: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{what}: {text!r} is no finite number")
    return number
