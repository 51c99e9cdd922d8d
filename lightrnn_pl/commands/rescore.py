"""What ``lightrnn-rescore`` does: lists get features, weights are tuned, lists are reranked, and BLEU says what for."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import IO, Any

import numpy as np
from omegaconf import DictConfig
from rich.console import Console

from lightrnn_pl.building import as_plain
from lightrnn_pl.checkpoint import weights_file
from lightrnn_pl.checks import check_count, check_flag, check_seed
from lightrnn_pl.commands.score import check_output, load_bundle, watched
from lightrnn_pl.files import file_hash, write_json
from lightrnn_pl.inference.text_lines import byte_lines, text_lines, write_lines
from lightrnn_pl.rescoring.feature_layout import Layout, read_weights
from lightrnn_pl.rescoring.nbest_lists import Hypothesis, Malformed, read_nbest
from lightrnn_pl.rescoring.reranking import (
    Chooser,
    Feature,
    LanguageModelFeature,
    References,
    TuningList,
    add_features,
    count_words,
)
from lightrnn_pl.rescoring.system_table import System, print_systems
from lightrnn_pl.rescoring.tuning import Vector, corpus_bleu, tune

_WORD_COUNT = "WordCount0"

_MISFIT = 0.01
"""Share of the scores' size above which the features do not explain the scores of a list."""


def rescore(config: DictConfig) -> dict[str, Any]:
    """Do what ``config`` asks for, print the table, and return what it says.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: Naming the key or the line, for what cannot be read or done.
    """
    _check(config)
    job = _Rescoring(config)
    systems = job.tune() if config.dev is not None else job.given()
    if config.test is not None:
        job.rerank(systems)
    return job.finish(systems)


class _Rescoring:
    """One call of the command: its models, what it has told, and its report."""

    def __init__(self, config: DictConfig) -> None:
        self.config = config
        self.errors = Console(stderr=True, highlight=False, markup=False)
        self.report: dict[str, Any] = {"settings": as_plain(config)}
        tokens = {"tokenize": config.tokenize, "lowercase": config.lowercase}
        self.references = {
            split: References([list(text_lines(path)) for path in given], **tokens)
            for split in ("dev", "test")
            if (given := _paths(config[f"{split}_references"]))
        }
        self.models: dict[str, LanguageModelFeature] = {}
        self.report["models"] = {}
        for number, checkpoint in enumerate(_paths(config.checkpoints)):
            bundle = load_bundle(checkpoint, config.device)
            name, path = f"{config.feature}{number}", weights_file(checkpoint)
            self.models[name] = LanguageModelFeature(bundle.model, bundle.vocabulary, config.batch_size)
            self.report["models"][name] = {"checkpoint": str(path), "sha256": file_hash(path)}
        self.features: dict[str, Feature] = {_WORD_COUNT: count_words} if config.word_count else {}
        self.features.update(self.models)

    def given(self) -> list[System]:
        """The list's own order, and that of the weights given, if any."""
        listed = System("as listed", (), Chooser(Layout()))
        if self.config.weights is None:
            return [listed]
        weights = read_weights(self.config.weights)
        layout = Layout({name: np.size(values) for name, values in weights.items()})
        return [listed, System("weights given", tuple(self.features), Chooser(layout, layout.vector(weights)))]

    def tune(self) -> list[System]:
        """The list's own order, and for each set of features the order of the weights tuned for it."""
        config, references = self.config, self.references["dev"]
        layout = Layout()
        # The columns have to be known before the first row is written.
        for _ in self._read("dev", layout, tell=False):
            pass
        for name in self.features:
            if name in layout.sizes:
                raise ValueError(f"the list already has a feature {name}; choose another name with feature=...")
            layout.sizes[name] = 1
        listing = TuningList(layout, references)
        before = Chooser(layout)
        for group in watched(self._with_features("dev", Layout(layout.sizes)), self.errors, "sentences of dev"):
            before.choose(group, references)
            listing.add(group)
        candidates = listing.candidates()
        self._tell_missing("dev", listing.num_missing, len(references))
        start = self._start(listing)
        listed_bleu = float(corpus_bleu(before.counts + candidates.constant))
        systems = [System("as listed", (), before, dev_bleu=listed_bleu)]
        before.counts = np.zeros_like(before.counts)
        for name, features in self._feature_sets():
            used = np.ones(layout.num_columns, dtype=bool)
            for left_out in set(self.features) - set(features):
                used &= layout.vector({left_out: 1.0}) == 0
            # From the best that has fewer features, so that more of them never make it worse on dev.
            smaller = [one for one in systems[1:] if set(one.features) <= set(features)]
            if smaller:
                best = max(smaller, key=lambda one: one.dev_bleu or 0.0).chooser.weights
                start = start if best is None else best
            weights, bleu = tune(candidates, start, used, config.restarts, config.directions, config.seed)
            self._tell(f"tuned {name}: BLEU {bleu:.2f} on dev")
            systems.append(System(name, features, Chooser(layout, weights), dev_bleu=bleu))
        if config.weights_out is not None:
            assert systems[-1].chooser.weights is not None
            write_json(config.weights_out, layout.named(systems[-1].chooser.weights))
        return systems

    def _start(self, listing: TuningList) -> Vector:
        if self.config.weights is not None:
            return listing.layout.vector(read_weights(self.config.weights))
        weights, missed = listing.fit_scores()
        if missed > _MISFIT:
            self._tell(
                f"the scores of dev are no weighted sum of its features ({missed:.1%} is missed); tuning starts from "
                "the nearest weights, weights=... gives others"
            )
        # What was not among the features of the list cannot have made its scores.
        for name in self.features:
            weights[listing.layout.vector({name: 1.0}) > 0] = 0.0
        return weights

    def _feature_sets(self) -> list[tuple[str, tuple[str, ...]]]:
        common: tuple[str, ...] = (_WORD_COUNT,) if self.config.word_count else ()
        sets = [("features of the list" + (" and word count" if common else ""), common)]
        sets += [(f"+ {name}", (*common, name)) for name in self.models]
        if len(self.models) > 1:
            sets.append(("+ all of them", (*common, *self.models)))
        return sets

    def rerank(self, systems: Sequence[System]) -> None:
        """Let every system choose from ``config.test``, and write the list as the last one ranks it."""
        config, references, last = self.config, self.references.get("test"), systems[-1].chooser
        # A list tuned for says how many values a feature has; weights that were given may be of another list.
        layout = Layout(last.layout.sizes if config.dev is not None else None)
        sentences = hypotheses = missing = 0
        with ExitStack() as stack:
            output = None if config.output is None else stack.enter_context(write_lines(config.output))
            onebest = None if config.onebest is None else stack.enter_context(write_lines(config.onebest))

            def skip_to(sentence: int) -> int:
                for number in range(sentences, sentence):
                    if onebest is not None:
                        onebest.write(b"\n")
                    if references is not None:
                        for system in systems:
                            system.chooser.add(references.counts(number, ""))
                return sentence - sentences

            for group in watched(self._with_features("test", layout), self.errors, "sentences of test"):
                missing += skip_to(group[0].sentence)
                last.layout.check(layout)
                for system in systems:
                    chosen = system.chooser.choose(group, references)
                if onebest is not None:
                    onebest.write(chosen.text.encode() + b"\n")
                if output is not None:
                    _write(output, group, last)
                sentences = group[0].sentence + 1
                hypotheses += len(group)
            if references is not None:
                missing += skip_to(len(references))
                sentences = len(references)
        if not hypotheses:
            raise ValueError(f"test={config.test} holds no hypothesis that can be read")
        self._tell_missing("test", missing, sentences)
        self.report["test"] = {"sentences": sentences, "hypotheses": hypotheses, "sentences_without": missing}
        if last.weights is not None:
            listed, weighted = set(layout.sizes) | set(self.features), set(last.layout.sizes)
            self._tell_names("features of test without a weight, which count nothing", listed - weighted)
            self._tell_names("weights without a feature of test, which count nothing", weighted - listed)

    def finish(self, systems: Sequence[System]) -> dict[str, Any]:
        """Perplexities, the table, and the report."""
        measured = "test" in self.references and self.config.test is not None
        self._tell_unknown()
        if measured:
            self._perplexities(systems)
        self.report["systems"] = [system.as_dict(measured) for system in systems]
        if self.config.json:
            write_json(self.config.json, self.report)
        for key in ("output", "onebest", "weights_out"):
            if self.config[key] is not None:
                self._tell(f"{key}: {self.config[key]}")
        if measured or self.config.dev is not None:
            print_systems(self.report["systems"])
        return self.report

    def _perplexities(self, systems: Sequence[System]) -> None:
        """Of each language model on the first references of test, end markers counted."""
        lines = self.references["test"].texts[0]
        for name, model in self.models.items():
            total, counted = 0.0, 0
            for start in range(0, len(lines), self.config.buffer):
                part = lines[start : start + self.config.buffer]
                total += math.fsum(model(part))
                counted += sum(len(line.split()) for line in part)
            counted += len(lines) * (model.vocabulary.end is not None)
            for system in systems:
                if system.features and [one for one in system.features if one in self.models] == [name]:
                    system.perplexity = math.exp(min(700.0, -total / max(1, counted)))

    def _read(self, split: str, layout: Layout | None, tell: bool = True) -> Iterator[list[Hypothesis]]:
        path = self.config[split]

        def say(message: str) -> None:
            if tell:
                self._tell(f"{path}, {message}")

        malformed = Malformed(say)
        try:
            yield from read_nbest(byte_lines(path), malformed, layout)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        if malformed.count and tell:
            more = malformed.count - len(malformed.numbers)
            also = f", the last {more:,} of them not shown" if more else ""
            self._tell(f"{path}: {malformed.count:,} malformed lines left out{also}")
        self.report.setdefault("malformed", {})[split] = {"count": malformed.count, "first": malformed.numbers}

    def _with_features(self, split: str, layout: Layout) -> Iterator[list[Hypothesis]]:
        return add_features(self._read(split, layout), self.features, self.config.buffer)

    def _tell(self, text: str) -> None:
        self.errors.print(text, soft_wrap=True)

    def _tell_names(self, what: str, names: set[str]) -> None:
        if names:
            some = ", ".join(sorted(names)[:10]) + (", ..." if len(names) > 10 else "")
            self._tell(f"{what}: {len(names)} ({some})")

    def _tell_missing(self, split: str, missing: int, sentences: int) -> None:
        if missing:
            self._tell(f"{split}: {missing:,} of {sentences:,} sentences have no hypothesis and count as empty")

    def _tell_unknown(self) -> None:
        for name, model in self.models.items():
            share = model.num_unknown / model.num_words if model.num_words else 0.0
            self._tell(
                f"{name}: {model.num_unknown:,} of {model.num_words:,} words scored are unknown to it ({share:.2%})"
            )


def _paths(given: Any) -> list[str]:
    """One path or a list of them."""
    return [] if given is None else [given] if isinstance(given, str) else [str(path) for path in given]


def _write(file: IO[bytes], group: Sequence[Hypothesis], chooser: Chooser) -> None:
    """The hypotheses of a sentence, the best first; as they stand where the list's own scores rank them."""
    if chooser.weights is None:
        lines = [hypothesis.line() for hypothesis in group]
    else:
        scores = chooser.scores(group)
        order = np.argsort(-scores, kind="stable").tolist()
        lines = [group[place].line(float(scores[place])) for place in order]
    file.write("".join(f"{line}\n" for line in lines).encode())


def _check(config: DictConfig) -> None:
    for key in ("batch_size", "buffer"):
        check_count(key, config[key])
    for key in ("restarts", "directions"):
        check_count(key, config[key], at_least=0)
    for key in ("word_count", "lowercase"):
        check_flag(key, config[key])
    check_seed("seed", config.seed)
    if not re.fullmatch(r"[^\s=|]+", str(config.feature)):
        raise ValueError(f"feature={config.feature} must be a name without white space, = and |, as lists have them")
    if config.dev is None and config.test is None:
        raise ValueError("nothing to do; give test=LIST to rescore, or dev=LIST and dev_references=[FILE] to tune on")
    if (config.dev is None) != (not config.dev_references):
        raise ValueError("dev= and dev_references= belong together: tuning needs a list and its references")
    if config.test is None and (config.test_references or config.output or config.onebest):
        raise ValueError("test_references, output and onebest are those of test=LIST, which is missing")
    if config.weights_out is not None and config.dev is None:
        raise ValueError(f"weights_out={config.weights_out} is for tuned weights; give dev= and dev_references=")
    for split in ("dev", "test"):
        # A list is read twice, and its progress and that of its references must not mix.
        if "-" in (config[split], *_paths(config[f"{split}_references"])):
            raise ValueError(f"{split} and its references are read from files, not from standard input")
    weights = config.weights if isinstance(config.weights, str) else None
    sources = [config.dev, config.test, weights, *_paths(config.dev_references), *_paths(config.test_references)]
    outputs = [key for key in ("output", "onebest", "weights_out", "json") if config[key] is not None]
    for place, key in enumerate(outputs):
        check_output(key, config[key], [*sources, *(config[other] for other in outputs[:place])])
