"""Prints what the runs of each paper's table take on a GPU: the table in ``docs/reference/performance.md``.

``python docs/gpu_hours.py --rate 20 --step 30`` uses other constants than the estimates below; ``benchmarks/gpu.sh``
measures them.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass

import paper_tables
from hydra import compose, initialize_config_module
from omegaconf import DictConfig

from lightrnn_pl.building import build_allocation, build_model
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.nn.losses.sampled import SampledLoss
from lightrnn_pl.nn.outputs import AdaptiveOutput, HierarchicalOutput
from lightrnn_pl.reporting.paper_tables import PaperRow, paper_row

RATE = 20.0
"""Operations per second that training reaches, in 10^12: an estimate for a current GPU in TF32 or half precision."""

STEP = 40.0
"""Microseconds that one step of a recurrent layer takes at least, forward and backward: an estimate."""

UNLIMITED_EPOCHS = 40
"""Epochs of a run whose four rounds end when validation converges: an estimate."""


@dataclass(frozen=True)
class Cost:
    """What one run takes at most.

    Attributes:
        operations: Floating-point operations of the matrix products per word.
        sequential: Steps of recurrent layers per window that run one after the other.
        window: Words per window, over all streams.
        words: Words in all epochs.
        bytes: Memory for parameters, gradients, activations and logits.
    """

    operations: float
    sequential: int
    window: int
    words: float
    bytes: float

    def hours(self, rate: float, step: float) -> float:
        """Hours with ``rate`` 10^12 operations per second and ``step`` microseconds per sequential step."""
        seconds = max(self.operations * self.window / (1e12 * rate), 1e-6 * step * self.sequential)
        return self.words / self.window * seconds / 3600


def cost_of(config: DictConfig) -> Cost:
    """The cost of the run described by ``config``, with the size of the paper's corpus."""
    expected, data = config.data.expected, config.data
    vocabulary = paper_tables._vocabulary(expected.vocabulary)
    with paper_tables._MetaParameters(has_classes="classes" in config.model.output):
        allocation = build_allocation(config, vocabulary, assign_words=False)
        model = build_model(config, allocation, vocabulary, initialize=False)
    steps, core = model.embedding.steps_per_word, model.core
    weights = sum(parameter.numel() for parameter in core.parameters() if parameter.ndim == 2)
    window = data.batch_size * data.sequence_length
    parameters = sum(parameter.numel() for parameter in model.parameters())
    activations = 12 * window * steps * core.num_layers * core.hidden_dim
    logits = min(window * expected.vocabulary, 2**27) if allocation.num_components == 1 else 0
    return Cost(
        operations=6.0 * (weights * steps + output_products(model)),
        sequential=data.sequence_length * steps * core.num_layers,
        window=window,
        words=float(expected.tokens) * epochs_of(config),
        bytes=4.0 * (3 * parameters + activations + logits),
    )


def epochs_of(config: DictConfig) -> int:
    """The maximum number of epochs in all rounds; an estimate if rounds end only when validation converges."""
    limit, epochs = config.trainer.max_epochs, config.reallocation.get("epochs_per_round")
    if epochs is None:
        return limit if limit > 0 else UNLIMITED_EPOCHS
    assert isinstance(epochs, int), "the papers' rounds have equal numbers of epochs"
    total = epochs * config.reallocation.max_rounds
    return min(total, limit) if limit > 0 else total


def output_products(model: LanguageModel) -> float:
    """Multiplications of the output layer per word."""
    output = model.output
    if isinstance(model.loss, SampledLoss):
        return float(model.loss.num_samples * output.hidden_dim)
    if isinstance(output, HierarchicalOutput):
        return output.hidden_dim * (output.num_classes + output.num_words / output.num_classes)
    if isinstance(output, AdaptiveOutput):  # most words are in the first softmax
        return float(output.softmax.head.weight.numel())
    return float(sum(parameter.numel() for parameter in output.parameters() if parameter.ndim == 2))


def main() -> None:
    """Print one line per table or figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=RATE, help="10^12 operations per second")
    parser.add_argument("--step", type=float, default=STEP, help="microseconds per step of a recurrent layer")
    arguments = parser.parse_args()
    costs: dict[str, dict[PaperRow | None, Cost]] = {}
    folder = paper_tables.DOCS.parent / "conf" / "experiment"
    with initialize_config_module("lightrnn_pl.conf", version_base="1.3"):
        for path in sorted(folder.glob("*/*.yaml")):
            if re.match(r"(table|figure)\d", path.stem) and path.stem != "table7":  # Slim's Table 7 has no training
                config = compose("train", [f"experiment={path.relative_to(folder).with_suffix('')}"])
                for _ in paper_tables._rows(config):
                    row = paper_row({"paper": {key: config.paper.get(key) for key in ("table", "row", "note")}})
                    rows = costs.setdefault(config.paper.table, {})
                    if row not in rows:
                        rows[row] = cost_of(config)
    print("| table | runs | longest run, hours | all runs, hours | memory of the largest run, GiB |")
    print("| --- | --- | --- | --- | --- |")
    for table, runs in sorted(costs.items()):
        hours = [run.hours(arguments.rate, arguments.step) for run in runs.values()]
        memory = max(run.bytes for run in runs.values()) / 2**30
        print(f"| `{table}` | {len(runs)} | {max(hours):,.1f} | {sum(hours):,.1f} | {memory:,.1f} |")


if __name__ == "__main__":
    main()
