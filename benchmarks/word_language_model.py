"""Training of our models next to pytorch/examples' word_language_model at equal sizes.

    python benchmarks/word_language_model.py --json outputs/word_language_model.json
    python benchmarks/word_language_model.py --vocabulary 10000 --models full --profile
    python benchmarks/word_language_model.py --perplexity data=ptb

Steps are interleaved in one process with one thread, so that all models meet the same load of the machine.  On a CPU,
the time of a step is the processor time of the process.  ``ratio`` is the speed relative to the published model.

``--perplexity`` trains the published model and ``model=full`` for ``--epochs`` epochs on a corpus, with the same
batches, sizes, dropout, learning rate (1.0 for the loss summed over a window) and clipping, and reports their
validation perplexities.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from harness import compose_config, synchronize
from torch.nn import functional as F
from training_step import PUBLISHED, PublishedModel, Setting, create_step

from lightrnn_pl.building import build_allocation, build_model, instantiate
from lightrnn_pl.files import write_json


def compare(models: list[str], setting: Setting, rounds: int, profile: bool = False) -> list[dict[str, Any]]:
    """The median time of a step of each model and of the published one, in interleaved rounds."""
    device = torch.device(setting.device)
    steps = {name: create_step(name, setting) for name in (PUBLISHED, *models)}
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 1):  # the first round is a warm-up
        for name, step in steps.items():
            started = clock()
            step.run()
            synchronize(device)
            if number:
                times[name].append(clock() - started)
    medians = {name: statistics.median(values) for name, values in times.items()}
    if profile:
        for name, step in steps.items():
            with torch.profiler.profile() as profiler:
                step.run()
                synchronize(device)
            print(name, profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=15), sep="\n")
    return [
        {
            "model": name,
            "vocabulary": setting.num_words,
            "hidden": setting.hidden,
            "layers": setting.layers,
            "device": setting.device,
            "precision": setting.precision,
            "seconds": seconds,
            "words_per_second": setting.batch * setting.window / seconds,
            "ratio": medians[PUBLISHED] / seconds,
        }
        for name, seconds in medians.items()
    ]


def perplexities(setting: Setting, epochs: int, overrides: list[str]) -> list[dict[str, Any]]:
    """Validation perplexity of both models after each epoch of training on the same batches."""
    sizes = (f"model.hidden_dim={setting.hidden}", f"model.num_layers={setting.layers}")
    config = compose_config("model=full", *sizes, f"model.dropout={setting.dropout}", *overrides)
    datamodule = instantiate(config.data)
    datamodule.prepare_data()
    datamodule.setup("fit")
    vocabulary = datamodule.vocabulary
    rows = []
    for name in (PUBLISHED, "full"):
        torch.manual_seed(0)
        if name == PUBLISHED:
            model: Any = PublishedModel(len(vocabulary), setting.hidden, setting.layers, setting.dropout)
        else:
            model = build_model(config, build_allocation(config, vocabulary), vocabulary)
        model = model.to(setting.device)
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        for epoch in range(1, epochs + 1):
            model.train()
            for losses, batch in _losses(name, model, datamodule.train_dataloader(), setting.device):
                optimizer.zero_grad()
                (losses.masked_fill(~batch.mask, 0.0).sum() / len(losses)).backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                optimizer.step()
            total, words = 0.0, 0
            with torch.no_grad():
                for losses, batch in _losses(name, model.eval(), datamodule.val_dataloader(), setting.device):
                    total, words = total + float(losses[batch.mask].double().sum()), words + int(batch.mask.sum())
            perplexity = float(torch.tensor(total / words).exp())
            rows.append({"model": name, "epoch": epoch, "validation_perplexity": perplexity})
            print(f"{name}, epoch {epoch}: validation perplexity {perplexity:.2f}")
    return rows


def _losses(name: str, model: Any, loader: Any, device: str) -> Any:
    """The losses (B, T) of each batch, and the batch; the state is carried over."""
    state = None
    for batch in loader:
        batch = type(batch)(*(part.to(device) for part in batch))
        if name == PUBLISHED:
            scores, after = model(batch.inputs.T, state)
            losses = F.nll_loss(scores, batch.targets.T.flatten(), reduction="none").view(batch.targets.T.shape).T
        else:
            losses, after = model(batch.inputs, batch.targets, state)
        yield losses, batch
        state = tuple(part.detach() for part in after)


def markdown(rows: list[dict[str, Any]]) -> str:
    """The speeds as a table."""
    columns = ("model", "V", "device", "precision", "ms per step", "words/s", "ratio")
    lines = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    lines += [
        f"| {row['model']} | {row['vocabulary']:,} | {row['device']} | {row['precision']} | "
        f"{1e3 * row['seconds']:.1f} | {row['words_per_second']:,.0f} | {row['ratio']:.2f} |"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="full,lightrnn,hybrid,row_word", help="comma-separated")
    parser.add_argument("--vocabulary", type=int, nargs="*", default=[10_000, 60_025, 137_000])
    parser.add_argument("--hidden", type=int, default=200)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--profile", action="store_true", help="print where a step of each model spends its time")
    parser.add_argument("--perplexity", nargs="*", metavar="OVERRIDE", help="compare perplexities on a corpus instead")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    if arguments.device == "cpu":
        torch.set_num_threads(1)
    options = {name: getattr(arguments, name) for name in ("hidden", "layers", "dropout", "device", "precision")}
    rows: list[dict[str, Any]] = []
    if arguments.perplexity is not None:
        rows = perplexities(Setting(0, **options), arguments.epochs, arguments.perplexity)
    else:
        for num_words in arguments.vocabulary:
            setting = Setting(num_words, **options)
            rows += compare(arguments.models.split(","), setting, arguments.rounds, arguments.profile)
        print(markdown(rows))
    if arguments.json:
        write_json(arguments.json, rows)


if __name__ == "__main__":
    main()
