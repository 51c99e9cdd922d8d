"""The n-best lists and references of ``lightrnn-rescore``, in the format of Moses or of Kaldi."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from omegaconf import DictConfig

from lightrnn_pl.inference.text_lines import byte_lines, text_lines
from lightrnn_pl.rescoring.feature_layout import FeatureLayout
from lightrnn_pl.rescoring.kaldi_lists import KaldiList, read_references
from lightrnn_pl.rescoring.nbest_lists import Hypothesis, MalformedLines, read_nbest
from lightrnn_pl.rescoring.references import References


class NbestInput:
    """The lists ``dev`` and ``test``, and their references.

    Args:
        config: The configuration of the command.
        metric: The class of the references.
        report: Called with messages about malformed lines.

    Attributes:
        references: The references by split, without splits that have none.
        malformed: The malformed lines of each list that was read, for JSON.

    Raises:
        FileNotFoundError: If a file of references does not exist.
        ValueError: If references cannot be read.
    """

    def __init__(self, config: DictConfig, metric: type[References], report: Callable[[str], None]) -> None:
        self._config, self._report = config, report
        self.references: dict[str, References] = {}
        self.malformed: dict[str, Any] = {}
        self._kaldi_lists: dict[str, KaldiList] = {}
        options = {"lowercase": config.lowercase}
        if config.metric == "bleu":
            options["tokenize"] = config.tokenize
        for split in ("dev", "test"):
            paths, utterances = paths_of(config[f"{split}_references"]), None
            if config.format == "moses":
                texts = [list(text_lines(path)) for path in paths]
            else:
                by_utterance = [read_references(path) for path in paths]
                texts = [list(references.values()) for references in by_utterance]
                utterances = by_utterance[0] if by_utterance else None
                self._kaldi_lists[split] = KaldiList(config[split], paths_of(config[f"{split}_costs"]), utterances)
            if texts:
                self.references[split] = metric(texts, **options)

    def check_references(self, layout: FeatureLayout) -> None:
        """Check that lists and references have the same number of sentences.

        Args:
            layout: Receives the features of dev, if dev has references.

        Raises:
            ValueError: If they differ, or a list contains no hypothesis.
        """
        for split, references in self.references.items():
            path, sentences, first = self._config[split], 0, None
            for group in self.read(split, layout if split == "dev" else None, quiet=True):
                first = group[0].sentence if first is None else first
                sentences = group[0].sentence + 1
            if not sentences:
                raise self.no_hypothesis(split)
            if first and self._config.format == "moses" and sentences - first == len(references):
                raise ValueError(
                    f"the ids of {split}={path} are {first} to {sentences - 1}, but must be line numbers of "
                    f"{split}_references, counted from 0; subtract {first} from the ids"
                )
            # The references of a list of Kaldi are found by the names of the utterances.
            if sentences != len(references) and self._config.format == "moses":
                last = len(references) - 1
                remedy = "pass the references of this list"
                if sentences <= last:
                    remedy += f", and '{last} |||  |||  ||| 0' in the list if its last sentences have no hypotheses"
                raise ValueError(
                    f"{split}={path} has {sentences} sentences, but {split}_references has {last + 1} lines; {remedy}"
                )

    def no_hypothesis(self, split: str) -> ValueError:
        """The error of a list without hypotheses."""
        hint = "" if self._config.format == "kaldi" else "; lists of Kaldi require format=kaldi"
        return ValueError(f"{split}={self._config[split]} contains no valid hypothesis{hint}")

    def read(self, split: str, layout: FeatureLayout | None, quiet: bool = False) -> Iterator[list[Hypothesis]]:
        """Read a list sentence by sentence, and report malformed lines unless ``quiet``.

        Args:
            split: ``dev`` or ``test``.
            layout: See ``read_nbest``.
            quiet: Whether malformed lines are skipped without a message.

        Raises:
            FileNotFoundError: If the list does not exist.
            ValueError: If it cannot be read.
        """
        path = self._config[split]

        def report(message: str) -> None:
            if not quiet:
                self._report(f"{path}, {message}")

        malformed = MalformedLines(report)
        try:
            lines = self._kaldi_lists[split].lines() if self._kaldi_lists else byte_lines(path)
            yield from read_nbest(lines, malformed, layout)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        if malformed.count and not quiet:
            not_shown = malformed.count - len(malformed.numbers)
            suffix = f", the last {not_shown:,} of which are not shown" if not_shown else ""
            self._report(f"{path}: skipped {malformed.count:,} malformed lines{suffix}")
        self.malformed[split] = {"count": malformed.count, "first": malformed.numbers}

    def onebest_line(self, sentence: int, text: str) -> bytes:
        """The line of the best hypothesis of a sentence of test, in Kaldi's format after the name of the utterance."""
        if self._kaldi_lists:
            text = f"{self._kaldi_lists['test'].utterances[sentence]} {text}".strip()
        return text.encode() + b"\n"


def paths_of(value: Any) -> list[str]:
    """A list of paths, from None, one path, or a list."""
    return [] if value is None else [value] if isinstance(value, str) else [str(path) for path in value]
