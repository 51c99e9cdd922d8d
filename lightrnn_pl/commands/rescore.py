"""``lightrnn-rescore``: add features to n-best lists, tune weights, rerank the lists, and measure BLEU or WER."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import IO, Any

import numpy as np
from omegaconf import DictConfig
from rich.console import Console

from lightrnn_pl.building import as_plain
from lightrnn_pl.checkpoint import weights_file
from lightrnn_pl.checks import check_choice, check_count, check_flag, check_number, check_seed
from lightrnn_pl.commands.nbest_input import NbestInput, paths_of
from lightrnn_pl.commands.score import check_output, load_line_scorer
from lightrnn_pl.commands.unused_options import check_unused
from lightrnn_pl.evaluation.progress import with_progress
from lightrnn_pl.files import file_hash, write_json
from lightrnn_pl.inference.text_lines import write_lines
from lightrnn_pl.rescoring.feature_layout import FeatureLayout, read_weights
from lightrnn_pl.rescoring.nbest_lists import Hypothesis
from lightrnn_pl.rescoring.references import BleuReferences, References, WerReferences
from lightrnn_pl.rescoring.reranking import (
    Feature,
    LanguageModelFeature,
    Reranker,
    TuningSet,
    UnknownWordCount,
    add_features,
    count_words,
)
from lightrnn_pl.rescoring.results_table import System, print_systems
from lightrnn_pl.rescoring.tuning import Candidates, Vector, tune

_WORD_COUNT = "WordCount0"
_UNKNOWN_COUNT = "UnknownWordCount"

_FEW_LISTS = 100
"""Number of lists below which tuned weights often fit only these lists."""

_FEW_DIFFERENT = 0.2
"""Share of lists below which the weight of a count that differs within them is hardly determined."""

_OTHER_SENTENCES = 100
"""Word error rate of the best hypotheses above which the references are probably those of other sentences."""

_METRICS: dict[str, type[References]] = {"bleu": BleuReferences, "wer": WerReferences}

_MAX_RESIDUAL = 0.01
"""Largest relative residual at which the scores of a list count as a weighted sum of its features."""


def rescore(config: DictConfig) -> dict[str, Any]:
    """Tune weights on ``config.dev``, rerank ``config.test``, or both; print the results and return a report.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a setting is invalid or a file cannot be read; the message names the key or the line.
    """
    _check(config)
    job = _Rescoring(config)
    systems = job.tune() if config.dev is not None else job.untuned_systems()
    if config.test is not None:
        job.rerank(systems)
    return job.finish(systems)


class _Rescoring:
    """The models and the report of one call of the command."""

    def __init__(self, config: DictConfig) -> None:
        self.config = config
        self.errors = Console(stderr=True, highlight=False, markup=False)
        self.report: dict[str, Any] = {"settings": as_plain(config)}
        self.metric = _METRICS[config.metric]
        self.input = NbestInput(config, self.metric, self._print)
        self.references = self.input.references
        self.oracle: System | None = None
        if self.metric.counts_errors:
            self.oracle = System("oracle: best hypothesis of each list", (), Reranker(FeatureLayout()))
        self.dev_layout = FeatureLayout()
        self.input.check_references(self.dev_layout)
        self.models: dict[str, LanguageModelFeature] = {}
        self.unknown_counts: dict[str, UnknownWordCount] = {}
        self._count_unknown: list[UnknownWordCount] = []
        self._unknown_affects_order = False
        self.report["models"] = {}
        for number, checkpoint in enumerate(paths_of(config.checkpoints)):
            scorer = load_line_scorer(checkpoint, config.device, config.batch_size, "whitespace")
            name, path = f"{config.feature}{number}", weights_file(checkpoint)
            self.models[name] = LanguageModelFeature(scorer, config.unknown_penalty)
            self._count_unknown.append(UnknownWordCount(scorer.vocabulary))
            if config.unknown_count:
                self.unknown_counts[f"{_UNKNOWN_COUNT}{number}"] = self._count_unknown[-1]
            self.report["models"][name] = {"checkpoint": str(path), "sha256": file_hash(path)}
        self.features: dict[str, Feature] = {_WORD_COUNT: count_words} if config.word_count else {}
        self.features.update(self.models)
        self.features.update(self.unknown_counts)

    def untuned_systems(self) -> list[System]:
        """The original order, and the order by ``config.weights``, if any."""
        listed = System("as listed", (), Reranker(FeatureLayout()))
        if self.config.weights is None:
            return [listed]
        weights = read_weights(self.config.weights)
        layout = FeatureLayout({name: np.size(values) for name, values in weights.items()})
        return [listed, System("given weights", tuple(self.features), Reranker(layout, layout.vector(weights)))]

    def tune(self) -> list[System]:
        """The original order, and the order by the weights tuned for each set of features."""
        config, references, layout = self.config, self.references["dev"], self.dev_layout
        for name in self.features:
            if name in layout.sizes:
                raise ValueError(f"the list already has a feature {name}; choose another name with feature=...")
            layout.sizes[name] = 1
        tuning_set = TuningSet(layout, references)
        listed = Reranker(layout)
        hypotheses = self._with_features("dev", FeatureLayout(layout.sizes))
        for group in with_progress(hypotheses, self.errors, "sentences of dev"):
            listed.choose(group, references)
            tuning_set.add(group)
        candidates = tuning_set.candidates()
        self._print_missing("dev", tuning_set.num_missing, len(references))
        if len(candidates.starts) < _FEW_LISTS:
            self._print(
                f"weights tuned on only {len(candidates.starts)} lists may be worse on others; compare them with the "
                f"untuned ones on test, or tune on at least {_FEW_LISTS} lists"
            )
        start = untuned = self._start(tuning_set)
        if self.oracle is not None:
            self.oracle.dev = self.metric.sign * candidates.quality(-candidates.counts[:, 0].astype(np.float64))
            if self.oracle.dev > _OTHER_SENTENCES:
                self._print(
                    f"even the best hypotheses of dev have a word error rate of {self.oracle.dev:.2f}; check that "
                    "dev_references are those of its sentences"
                )
        self._warn_of_constant_counts(candidates)
        listed_value = float(self.metric.value(listed.counts + candidates.constant))
        systems = [System("as listed", (), listed, dev=listed_value)]
        listed.counts = np.zeros_like(listed.counts)
        for name, features in self._feature_sets():
            used = np.ones(layout.num_columns, dtype=bool)
            for omitted in set(self.features) - set(features):
                used &= layout.vector({omitted: 1.0}) == 0
            # Start from the best subset of the features, so that adding features is never worse on dev.
            subsets = [system for system in systems[1:] if set(system.features) <= set(features)]
            if subsets:
                best = max(subsets, key=lambda system: self.metric.sign * (system.dev or 0.0)).reranker.weights
                start = start if best is None else best
            weights, quality = tune(candidates, start, used, config.restarts, config.directions, config.seed)
            value = self.metric.sign * quality
            self._print(f"tuned {name}: {self.metric.metric} {value:.2f} on dev")
            self._print_weights(layout.by_name(weights), features)
            systems.append(System(name, features, Reranker(layout, weights), dev=value))
        if config.weights is not None:
            value = self.metric.sign * candidates.quality(candidates.project(untuned))
            systems.insert(1, System("given weights", tuple(self.features), Reranker(layout, untuned), dev=value))
        if config.weights_out is not None:
            assert systems[-1].reranker.weights is not None
            write_json(config.weights_out, layout.by_name(systems[-1].reranker.weights))
        return systems

    def _warn_of_constant_counts(self, candidates: Candidates) -> None:
        options = {_WORD_COUNT: "word_count", **dict.fromkeys(self.unknown_counts, "unknown_count")}
        for name in options.keys() & self.features.keys():
            share = candidates.share_with_different_values(int(self.dev_layout.vector({name: 1.0}).argmax()))
            if share < _FEW_DIFFERENT:
                self._print(
                    f"the hypotheses of only {share:.0%} of the lists differ in {name}, so its weight is almost "
                    f"arbitrary; compare with {options[name]}=false"
                )

    def _print_weights(self, weights: Mapping[str, Sequence[float]], features: Sequence[str]) -> None:
        """Print the weights of the list's and the added features, and which language models are used in reverse."""
        names = [*(name for name in weights if name not in self.features), *features]
        if names:
            pairs = (" ".join([name, *(f"{weight:.3g}" for weight in weights[name])]) for name in names)
            self._print("  weights: " + ", ".join(pairs))
        for name in features:
            if name in self.models and weights[name][0] < 0:
                self._print(f"  {name} has a negative weight: hypotheses that it finds more likely rank lower")

    def _start(self, tuning_set: TuningSet) -> Vector:
        layout = tuning_set.layout
        if self.config.weights is not None:
            return layout.vector(read_weights(self.config.weights))
        if self.config.format == "kaldi":
            return layout.vector({name: 1.0 for name in layout.sizes if name not in self.features})
        weights, residual = tuning_set.fit_scores()
        if residual > _MAX_RESIDUAL:
            self._print(
                f"the scores of dev are not a weighted sum of its features (relative residual {residual:.1%}); tuning "
                "starts from the nearest weights; pass weights=... to start from others"
            )
        # The scores of the list cannot depend on features that this command adds.
        for name in self.features:
            weights[layout.vector({name: 1.0}) > 0] = 0.0
        return weights

    def _feature_sets(self) -> list[tuple[str, tuple[str, ...]]]:
        common: tuple[str, ...] = (_WORD_COUNT,) if self.config.word_count else ()
        sets = [("features of the list" + (" and word count" if common else ""), common)]
        counts: list[tuple[str, ...]] = [(count,) for count in self.unknown_counts] or [()] * len(self.models)
        sets += [(f"+ {name}", (*common, name, *count)) for name, count in zip(self.models, counts, strict=True)]
        if len(self.models) > 1:
            sets.append(("+ all of them", (*common, *self.models, *self.unknown_counts)))
        return sets

    def rerank(self, systems: Sequence[System]) -> None:
        """Rerank ``config.test`` with every system, and write the list in the order of the last one."""
        config, references, last = self.config, self.references.get("test"), systems[-1].reranker
        oracle = None if self.oracle is None or references is None else self.oracle.reranker
        # After tuning, the features of test must match those of dev; given weights may come from another list.
        layout = FeatureLayout(last.layout.sizes if config.dev is not None else None)
        sentences = hypotheses = missing = 0
        with ExitStack() as stack:
            output = None if config.output is None else stack.enter_context(write_lines(config.output))
            onebest = None if config.onebest is None else stack.enter_context(write_lines(config.onebest))

            def skip_to(sentence: int) -> int:
                for number in range(sentences, sentence):
                    if onebest is not None:
                        onebest.write(self.input.onebest_line(number, ""))
                    if references is not None:
                        for reranker in [*(system.reranker for system in systems), *([oracle] if oracle else [])]:
                            reranker.add(references.counts(number, ""))
                return sentence - sentences

            for group in with_progress(self._with_features("test", layout), self.errors, "sentences of test"):
                missing += skip_to(group[0].sentence)
                last.layout.check_compatible(layout)
                if not hypotheses and last.weights is not None:
                    self._check_own_features(set(last.layout.sizes) - set(layout.sizes) - set(self.features))
                for system in systems:
                    chosen = system.reranker.choose(group, references)
                if oracle is not None and references is not None:
                    texts = {hypothesis.text for hypothesis in group}
                    oracle.add(min(references.counts(group[0].sentence, text) for text in texts))
                if onebest is not None:
                    onebest.write(self.input.onebest_line(chosen.sentence, chosen.text))
                if output is not None:
                    _write(output, group, last)
                sentences = group[0].sentence + 1
                hypotheses += len(group)
            if references is not None:
                missing += skip_to(len(references))
                sentences = len(references)
        if not hypotheses:
            raise self.input.no_hypothesis("test")
        self._print_missing("test", missing, sentences)
        self.report["test"] = {"sentences": sentences, "hypotheses": hypotheses, "sentences_without": missing}
        if last.weights is not None:
            listed, weighted = set(layout.sizes) | set(self.features), set(last.layout.sizes)
            self._print_names("ignored features of test, which have no weight", listed - weighted)
            self._print_names("ignored weights, which have no feature in test", weighted - listed)

    def _check_own_features(self, missing: set[str]) -> None:
        """Refuse weights of features that this command adds only with other options.

        Raises:
            ValueError: Naming the features and the options.
        """
        options = {
            _WORD_COUNT.rstrip("0"): "word_count=true",
            _UNKNOWN_COUNT: "unknown_count=true",
            self.config.feature: "all checkpoints of the tuning",
        }
        own = {name: options[kind] for name in sorted(missing) if (kind := name.rstrip("0123456789")) in options}
        if own:
            raise ValueError(
                f"weights has a weight of {', '.join(own)}, but the list has no such feature; pass "
                f"{' and '.join(dict.fromkeys(own.values()))}, or remove the weight"
            )

    def finish(self, systems: Sequence[System]) -> dict[str, Any]:
        """Measure perplexities, write and print the report, and return it."""
        has_test = "test" in self.references
        self.report["malformed"] = self.input.malformed
        self._print_unknown()
        if has_test:
            self._measure_perplexities(systems)
        self.report["systems"] = [system.as_dict(self.metric, has_test) for system in systems]
        self.report["oracle"] = None if self.oracle is None else self.oracle.as_dict(self.metric, has_test)
        if self.config.json:
            write_json(self.config.json, self.report)
        for key in ("output", "onebest", "weights_out"):
            if self.config[key] is not None:
                self._print(f"{key}: {self.config[key]}")
        if has_test or self.config.dev is not None:
            oracle = [] if self.oracle is None else [self.report["oracle"]]
            print_systems(self.report["systems"] + oracle, self.metric.metric)
            for name, model in self.report["models"].items():
                print(f"{name}: {model['checkpoint']}")
        return self.report

    def _measure_perplexities(self, systems: Sequence[System]) -> None:
        """Set the perplexity of each language model on the first references of test, including end markers."""
        lines = self.references["test"].texts[0]
        for name, model in self.models.items():
            total, tokens = 0.0, 0
            for start in range(0, len(lines), self.config.buffer):
                part = lines[start : start + self.config.buffer]
                total += math.fsum(model.log_probabilities(part))
                tokens += sum(len(line.split()) for line in part)
            tokens += len(lines) * (model.vocabulary.end is not None)
            for system in systems:
                if system.features and [feature for feature in system.features if feature in self.models] == [name]:
                    system.perplexity = math.exp(min(700.0, -total / max(1, tokens)))

    def _with_features(self, split: str, layout: FeatureLayout) -> Iterator[list[Hypothesis]]:
        for group in add_features(self.input.read(split, layout), self.features, self.config.buffer):
            texts = [hypothesis.text for hypothesis in group]
            self._unknown_affects_order |= any(len({*count(texts)}) > 1 for count in self._count_unknown)
            yield group

    def _print(self, message: str) -> None:
        self.errors.print(message, soft_wrap=True)

    def _print_names(self, title: str, names: set[str]) -> None:
        if names:
            first = ", ".join(sorted(names)[:10]) + (", ..." if len(names) > 10 else "")
            self._print(f"{title}: {len(names)} ({first})")

    def _print_missing(self, split: str, missing: int, sentences: int) -> None:
        if missing:
            self._print(f"{split}: {missing:,} of {sentences:,} sentences have no hypothesis and count as empty")

    def _print_unknown(self) -> None:
        for name, model in self.models.items():
            share = model.num_unknown / model.num_words if model.num_words else 0.0
            self._print(f"{name}: {model.num_unknown:,} of {model.num_words:,} scored words are unknown ({share:.2%})")
        is_corrected = self.config.unknown_count or self.config.unknown_penalty
        if self._unknown_affects_order and not is_corrected:
            self._print(
                "unknown words can be more likely than known ones; unknown_count=true adds their number as a feature, "
                "unknown_penalty=10 lowers the score of texts with unknown words"
            )


def _write(file: IO[bytes], group: Sequence[Hypothesis], reranker: Reranker) -> None:
    """Write the hypotheses of a sentence in decreasing order of score; unchanged if the reranker has no weights."""
    if reranker.weights is None:
        lines = [hypothesis.line() for hypothesis in group]
    else:
        scores = reranker.scores(group)
        order = np.argsort(-scores, kind="stable").tolist()
        lines = [group[index].line(float(scores[index])) for index in order]
    file.write("".join(f"{line}\n" for line in lines).encode())


def _check(config: DictConfig) -> None:
    check_choice("metric", config.metric, tuple(_METRICS))
    check_choice("format", config.format, ("moses", "kaldi"))
    for key in ("batch_size", "buffer"):
        check_count(key, config[key])
    for key in ("restarts", "directions"):
        check_count(key, config[key], at_least=0)
    check_number("unknown_penalty", config.unknown_penalty, at_least=0)
    for key in ("word_count", "unknown_count", "lowercase"):
        check_flag(key, config[key])
    check_seed("seed", config.seed)
    if not re.fullmatch(r"[^\s=|]+", str(config.feature)):
        raise ValueError(f'feature={config.feature} must be a name without whitespace, "=" or "|"')
    if config.dev is None and config.test is None:
        raise ValueError("nothing to do; pass test=LIST to rescore, or dev=LIST and dev_references=[FILE] to tune")
    if (config.dev is None) != (not config.dev_references):
        raise ValueError("tuning needs both a list and its references; pass dev=LIST and dev_references=[FILE]")
    if config.test is None and (config.test_references or config.output or config.onebest):
        raise ValueError("test_references, output and onebest require test=LIST")
    if config.dev is None:
        check_unused(config, "applies to tuning; pass dev=LIST, or omit it", restarts=10, directions=10, seed=0)
    if not config.dev_references and not config.test_references:
        reason = "applies to the metric; pass references, or omit it"
        check_unused(config, reason, metric="bleu", tokenize="none", lowercase=False)
    if config.metric != "bleu":
        check_unused(config, "applies to metric=bleu; omit it", tokenize="none")
    if config.format == "moses":
        check_unused(config, "applies to format=kaldi; omit it", dev_costs=[], test_costs=[])
    if config.dev is None:
        check_unused(config, "requires dev=LIST; pass it, or omit this", dev_costs=[])
    if config.test is None:
        check_unused(config, "requires test=LIST; pass it, or omit this", test_costs=[])
    if config.weights_out is not None and config.dev is None:
        raise ValueError(f"weights_out={config.weights_out} requires tuning; pass dev=LIST and dev_references=[FILE]")
    if config.test is not None and not any(config[key] for key in ("test_references", "output", "onebest", "json")):
        raise ValueError(
            "nothing is measured or written for test; pass test_references=[FILE], output=FILE or onebest=FILE"
        )
    sources = [config.weights if isinstance(config.weights, str) else None]
    for split in ("dev", "test"):
        # dev is read twice, and a list and its references cannot share standard input.
        others = [*paths_of(config[f"{split}_references"]), *paths_of(config[f"{split}_costs"])]
        if "-" in (config[split], *others):
            raise ValueError(f"{split} and its references must be files; standard input is not supported")
        if config.format == "kaldi" and len(paths_of(config[f"{split}_references"])) > 1:
            raise ValueError(f"format=kaldi requires one file of references; pass one file as {split}_references")
        sources += [config[split], *others]
    outputs = [key for key in ("output", "onebest", "weights_out", "json") if config[key] is not None]
    for number, key in enumerate(outputs):
        check_output(key, config[key], [*sources, *(config[other] for other in outputs[:number])])
