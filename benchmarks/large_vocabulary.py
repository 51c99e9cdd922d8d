"""Every command on a very large vocabulary: seconds, peak memory, and the longest time without any output.

    python benchmarks/large_vocabulary.py --folder work --counts word_counts.npy      # BillionW's 793,471 words
    python benchmarks/large_vocabulary.py --folder work --words 100000 --tokens 2000000

Writes a random text that contains every word, with the frequencies of ``--counts`` (an .npy file of integers) or, by
default, of Zipf's law.  Then runs each stage in a separate process: the token cache, the initial allocation, training,
a reallocation, evaluation, scoring, next words, generation, rescoring, exports, the clients of exports, the server and
the report.  Peak memory is that of the largest process of a stage.  The time without output counts progress bars as
output, and includes the start of the process.

Training reads ``--steps`` batches.  The reallocation reads a shorter text, in which most words occur once.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from harness import compose_config
from nbest_lists import make as make_nbest_lists

from lightrnn_pl.files import write_json

MODELS = "lightrnn,hybrid,row_word_adaptive"
_LINE = 25  # words per line
_EVALUATED_LINES = 800
_PROMPT = "10 11"  # the most frequent words


@dataclass
class Process:
    """A process that has ended.

    Attributes:
        status: Exit status.
        seconds: Wall-clock time.
        cpu_seconds: Processor time of all its threads and processes.
        peak_mib: Peak resident memory of its largest process.
        silence: Longest time without output, in seconds.
        silent_after: The last output before it.
        output: Standard output and standard error.
    """

    status: int
    seconds: float
    cpu_seconds: float
    peak_mib: float
    silence: float
    silent_after: str
    output: str


def run_process(
    command: list[str], text: Path | None = None, on_output: Callable[[str, int], None] | None = None
) -> Process:
    """Run a command in a terminal, so that it shows its progress bars.

    Args:
        command: The command.
        text: File for standard input.
        on_output: Called with all output so far and the id of the process, whenever there is new output.
    """
    terminal, its_end = pty.openpty()
    environment = {**os.environ, "COLUMNS": "160", "TERM": "xterm", "HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled"}
    started = latest = time.monotonic()
    silence, silent_after, output = 0.0, "", b""
    with contextlib.ExitStack() as files:
        stdin = files.enter_context(text.open("rb")) if text else subprocess.DEVNULL
        process = subprocess.Popen(
            command, stdin=stdin, stdout=its_end, stderr=its_end, env=environment, start_new_session=True
        )
    os.close(its_end)
    while True:
        select.select([terminal], [], [])
        try:
            block = os.read(terminal, 1 << 16)
        except OSError:  # the process has closed the terminal
            break
        if time.monotonic() - latest > silence:
            silence, silent_after = time.monotonic() - latest, _last_text(output)
        latest = time.monotonic()
        output += block
        if on_output is not None:
            on_output(output.decode(errors="replace"), process.pid)
    os.close(terminal)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    ended = time.monotonic()
    if ended - latest > silence:
        silence, silent_after = ended - latest, _last_text(output)
    return Process(
        process.returncode,
        ended - started,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss / 2**10,
        silence,
        silent_after,
        output.decode(errors="replace"),
    )


def _last_text(output: bytes) -> str:
    """The last characters of the output of a terminal, without its control sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\s+", " ", output[-1000:].decode(errors="replace")).strip()[-80:]


def write_text(path: Path, num_tokens: int, frequencies: np.ndarray, every_word: bool, seed: int) -> None:
    """Write random lines; words are numbers in the order of ``frequencies``, starting with 10.

    Args:
        path: The file.
        num_tokens: Number of words and line ends.
        frequencies: Relative frequency of each word.
        every_word: Whether each word occurs at least once.
        seed: Seed of all random numbers.
    """
    generator = np.random.default_rng(seed)
    num_words = num_tokens * _LINE // (_LINE + 1) // _LINE * _LINE
    ids = np.arange(len(frequencies)) if every_word else np.empty(0, np.int64)
    cumulative = np.cumsum(frequencies / frequencies.sum())
    drawn = np.searchsorted(cumulative[:-1], generator.random(max(0, num_words - len(ids))))
    ids = np.concatenate([ids, drawn])
    ids = ids[: len(ids) // _LINE * _LINE] if not every_word else np.resize(ids, -(-len(ids) // _LINE) * _LINE)
    generator.shuffle(ids)
    words = pa.array(np.arange(10, 10 + len(frequencies))).cast(pa.string())
    with path.open("wb") as file:
        for block in np.split(ids, range(100_000 * _LINE, len(ids), 100_000 * _LINE)):
            offsets = np.arange(0, len(block) + 1, _LINE)
            lines = pc.binary_join(pa.ListArray.from_arrays(offsets, words.take(pa.array(block))), " ")
            file.write(("\n".join(lines.to_pylist()) + "\n").encode())


def make_cache(*overrides: str) -> None:
    """The stage ``cache``: read the text once."""
    from lightrnn_pl.building import instantiate

    instantiate(compose_config(*overrides).data).prepare_data()


def make_allocation(path: str, *overrides: str) -> None:
    """The stage ``allocation``: compute the default initial allocation, and write it to a file."""
    import logging

    from lightrnn_pl.allocation.allocation_file import write_table
    from lightrnn_pl.building import build_allocation, instantiate

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = compose_config(*overrides)
    data = instantiate(config.data)
    data.prepare_data()
    data.setup("fit")
    write_table(path, build_allocation(config, data.vocabulary, data.training_tokens()), data.vocabulary.words)


@dataclass
class Files:
    """The files of the benchmark in ``folder``."""

    folder: Path

    @property
    def table(self) -> Path:
        return self.folder / "table.parquet"

    def text(self, name: str) -> Path:
        return self.folder / f"{name}.txt"

    def run(self, model: str) -> Path:
        return self.folder / "runs" / model

    def export(self, model: str, form: str) -> Path:
        return self.folder / "exports" / f"{model}-{form}"


@dataclass
class Stage:
    """One command.

    Attributes:
        name: Name of the stage.
        model: The model; empty for stages without one.
        command: The command.
        text: File for standard input.
        on_output: See :func:`run_process`.
        details: What to report of its output, given the output.
    """

    name: str
    model: str
    command: list[str]
    text: Path | None = None
    on_output: Callable[[str, int], None] | None = None
    details: Callable[[str], str] = lambda output: ""


def command(name: str) -> list[str]:
    """``lightrnn-name``, as it is installed."""
    found = shutil.which(f"lightrnn-{name}") or str(Path(sys.executable).with_name(f"lightrnn-{name}"))
    return [found]


def own_stage(function: str, *arguments: str) -> list[str]:
    """A process that calls a function of this module."""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import large_vocabulary as module; "
    return [sys.executable, "-c", f"{code}module.{function}(*sys.argv[1:])", *arguments]


def data_overrides(files: Files, train: str = "train") -> list[str]:
    """The corpus."""
    texts = [f"data.train={files.text(train)}", f"data.valid={files.text('valid')}"]
    return ["data=text", *texts, f"paths.cache_dir={files.folder / 'cache'}"]


def stages(models: list[str], files: Files, arguments: argparse.Namespace) -> Iterator[Stage]:
    """All stages, in order."""
    yield Stage("cache", "", own_stage("make_cache", *data_overrides(files)))
    yield Stage(
        "allocation",
        "",
        own_stage("make_allocation", str(files.table), *data_overrides(files)),
        details=lambda output: _last(r"The initial allocation took ([\d.]+ s)", output),
    )
    for model in models:
        yield from training_stages(model, files, arguments)
        yield from inference_stages(model, files)
    yield Stage("report", "", [*command("report"), str(files.folder / "runs"), f"output={files.folder / 'report'}"])


def training_stages(model: str, files: Files, arguments: argparse.Namespace) -> Iterator[Stage]:
    """Training, and training with one reallocation."""
    settings = [
        *(f"model={model}", f"model.hidden_dim={arguments.hidden}", "model.num_layers=1", "schedule=steps"),
        *("trainer=cpu", "logger=none", "allocation=file", f"allocation.path={files.table}", "resume=false"),
        *arguments.overrides,
    ]
    run = files.run(model)
    yield Stage(
        "training",
        model,
        [
            *(*command("train"), *data_overrides(files), *settings, "reallocation=none"),
            *(f"trainer.max_steps={arguments.steps}", f"hydra.run.dir={run}"),
        ],
        details=lambda output: _speed(run),
    )
    objective = "rows" if model.startswith("row_word") else "columns"
    moved = files.folder / "moved" / model
    yield Stage(
        "reallocation",
        model,
        [
            *(*command("train"), *data_overrides(files, "short"), *settings),
            *(f"reallocation/objective={objective}", f"reallocation.sample_every={arguments.sample_every}"),
            *("reallocation.max_rounds=2", "reallocation.epochs_per_round=1", "schedule.factors=[1]"),
            *(f"trainer.limit_train_batches={max(1, arguments.steps // 2)}", f"hydra.run.dir={moved}"),
        ],
        details=lambda output: _reallocation(moved),
    )


def inference_stages(model: str, files: Files) -> Iterator[Stage]:
    """Everything that is done with a trained model."""
    checkpoint = f"checkpoint={files.run(model)}"
    yield Stage("evaluation", model, [*command("evaluate"), checkpoint, "splits=[valid]"])
    yield Stage("evaluation of a text", model, [*command("evaluate"), checkpoint, f"text={files.text('valid')}"])
    yield Stage("scoring", model, [*command("score"), checkpoint, f"text={files.text('valid')}", "output=/dev/null"])
    yield Stage("next words", model, [*command("generate"), checkpoint, f"prompt={_PROMPT}", "next=10"])
    yield Stage("generation", model, [*command("generate"), checkpoint, f"prompt={_PROMPT}", "samples=3"])
    yield Stage("beam search", model, [*command("generate"), checkpoint, f"prompt={_PROMPT}", "beams=8"])
    output = f"output={files.folder / 'rescored.nbest'}"
    yield Stage(
        "rescoring",
        model,
        [*command("rescore"), f"checkpoints=[{files.run(model)}]", f"test={files.folder / 'list.nbest'}", output],
    )
    yield Stage("table", model, [*command("table"), checkpoint, f"export={files.folder / 'exported.tsv'}"])
    for form in ("safetensors", "int8", "onnx", "onnx_int8"):
        folder = files.export(model, form)
        yield Stage(
            f"export, {form}",
            model,
            [*command("export"), checkpoint, f"output={folder}", f"format={form}", "words=10000", "overwrite=true"],
            details=lambda output, folder=folder: f"{_megabytes(folder):,.1f} MB",
        )
    for form in ("onnx", "onnx_int8"):
        client = [sys.executable, str(files.export(model, form) / "client.py"), str(files.export(model, form))]
        yield Stage(f"client, {form}, scores", model, client, files.text("prompts"))
        yield Stage(f"client, {form}, next words", model, [*client, "--next", "10"], files.text("prompts"))
    yield Stage("serve", model, [*command("serve"), checkpoint, "port=0"], on_output=_Requests(), details=_Requests.all)


class _Requests:
    """Sends requests to a server when it has printed its address, and then interrupts it."""

    seconds: dict[str, float]

    def __init__(self) -> None:
        self._sent = False

    def __call__(self, output: str, pid: int) -> None:
        address = re.search(r"http://\S+/", output)
        if self._sent or address is None:
            return
        self._sent = True
        _Requests.seconds = {}
        try:
            for name, fields in {
                "": None,
                "api/model": None,
                "api/next": {"text": "10 11", "k": 10},
                "api/score": {"text": "10 11 12"},
                "api/word": {"word": "10"},
                "api/generate": {"text": "10 11"},
            }.items():
                started = time.monotonic()
                body = None if fields is None else json.dumps(fields).encode()
                request = urllib.request.Request(address[0] + name, body, {"Content-Type": "application/json"})
                with urllib.request.urlopen(request, timeout=600) as response:
                    response.read()
                _Requests.seconds[f"/{name}"] = time.monotonic() - started
        finally:
            os.kill(pid, signal.SIGINT)

    @staticmethod
    def all(output: str) -> str:
        return ", ".join(f"{name} {1000 * seconds:.0f} ms" for name, seconds in _Requests.seconds.items())


def _last(pattern: str, output: str) -> str:
    found = re.findall(pattern, output)
    return found[-1] if found else ""


def _metrics(run: Path) -> dict[str, Any]:
    return json.loads((run / "metrics.json").read_text())


def _speed(run: Path) -> str:
    metrics = _metrics(run)
    return f"{metrics['parameters']:,} parameters, {metrics['words_per_second']:,.0f} words/s"


def _reallocation(run: Path) -> str:
    (first, *_) = _metrics(run)["rounds"]
    moved = first["reallocation"]
    times = (f"{name} {moved[f'seconds_{name}']:.0f} s" for name in ("statistics", "solver", "measuring"))
    return f"{moved['solver']}: {', '.join(times)}; {moved['words_moved']:,} words, gap {moved['gap']:.2%}"


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.iterdir()) / 1e6 if folder.is_dir() else 0.0


def prepare(files: Files, frequencies: np.ndarray, num_tokens: int) -> None:
    """Write all texts, unless they exist."""
    files.folder.mkdir(parents=True, exist_ok=True)
    if files.text("prompts").is_file():
        return
    write_text(files.text("train"), num_tokens, frequencies, every_word=True, seed=0)
    write_text(files.text("short"), len(frequencies) * 11 // 10, frequencies, every_word=True, seed=1)
    write_text(files.text("valid"), _EVALUATED_LINES * (_LINE + 1), frequencies, every_word=False, seed=2)
    make_nbest_lists(files.text("valid"), files.folder / "list", sentences=20, count=20, seed=0)
    files.text("prompts").write_text(f"{_PROMPT}\n12\n")


def measure(stage: Stage, log: Path) -> dict[str, Any]:
    """Run a stage, and write its output to ``log``."""
    process = run_process(stage.command, stage.text, stage.on_output)
    log.parent.mkdir(exist_ok=True)
    log.write_text(process.output)
    row = {"stage": stage.name, "model": stage.model, **vars(process)}
    lines = row.pop("output").strip().splitlines()
    if process.status:
        row["details"] = f"FAILED with status {process.status}: {lines[-1] if lines else ''}"
    else:
        row["details"] = stage.details(process.output)
    return row


def markdown(row: dict[str, Any]) -> str:
    """The result of a stage as a row of a Markdown table."""
    return (
        f"| {row['stage']} | {row['model']} | {row['seconds']:.1f} | {row['cpu_seconds']:.1f} | {row['peak_mib']:,.0f} "
        f"| {row['silence']:.1f} | {row['details']} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="folder for the texts and all results")
    parser.add_argument("--counts", type=Path, help=".npy file of word counts, instead of Zipf's law")
    parser.add_argument("--words", type=int, default=793_471, help="size of the vocabulary, with Zipf's law")
    parser.add_argument("--tokens", type=int, default=20_800_000)
    parser.add_argument("--steps", type=int, default=300, help="training batches of 20 x 35 words")
    parser.add_argument("--hidden", type=int, default=200)
    parser.add_argument("--sample-every", type=int, default=400, help="reallocation.sample_every of the objective rows")
    parser.add_argument("--models", default=MODELS, help="comma-separated (default: %(default)s)")
    parser.add_argument("--stages", default=".*", help="regular expression of the names of stages to run")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    parser.add_argument("overrides", nargs="*", help="further overrides of training")
    arguments = parser.parse_args()
    frequencies = np.load(arguments.counts) if arguments.counts else 1 / (np.arange(arguments.words) + 2.7)
    files = Files(arguments.folder.absolute())
    prepare(files, frequencies, arguments.tokens)
    print("| stage | model | seconds | CPU seconds | peak MiB | longest time without output, s | details |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    rows = []
    for stage in stages(arguments.models.split(","), files, arguments):
        if not re.search(arguments.stages, stage.name):
            continue
        name = f"{stage.model or 'common'}, {stage.name}".replace(", ", "-").replace(" ", "-")
        rows.append(measure(stage, files.folder / "logs" / f"{name}.txt"))
        print(markdown(rows[-1]), flush=True)
        if arguments.json:
            write_json(arguments.json, rows)
    sys.exit(int(any(row["status"] for row in rows)))


if __name__ == "__main__":
    main()
