"""Kills, full disks and competing processes at random moments of every stage.

    python tests/robustness/chaos.py --kills 200         # all stages, about 20 minutes on one core
    python tests/robustness/chaos.py --kills 20 --stage train --seed 5

After each kill, the command is started again, until it completes.  Its result must be the same to the bit as that of an
uninterrupted run, and no temporary file may remain.  The tests run a small part of it.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import hashlib
import importlib
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

SIGNALS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
TRAINING = (
    *("resume_point.every_steps=5", "optimizer.lr=0.5", "trainer.max_epochs=4", "trainer.limit_train_batches=25"),
    *("reallocation.max_rounds=3", "reallocation.epochs_per_round=1", "reallocation.patience=9"),
)
FULL_DISK = "no space left"
SECONDS = 120
"""Maximum time of a process."""


def write_inputs(folder: Path) -> dict[str, Path]:
    """Three small files of random sentences, and next to them the folder ``runs`` with two runs."""
    from tests.reporting.folders import make_run

    for seed in (1, 2):
        make_run(folder / "runs" / str(seed), seed=seed)
    generator = np.random.default_rng(0)
    files = {}
    for split, lines in (("train", 250), ("valid", 40), ("test", 40)):
        files[split] = folder / f"{split}.txt"
        words = [" ".join(f"w{word % 40}" for word in generator.zipf(1.4, 6)) for _ in range(lines)]
        files[split].write_text("\n".join(words) + "\n", encoding="utf-8")
    return files


def train(folder: Path, files: dict[str, Path]) -> None:
    """Build the cache, train with reallocations, and write checkpoints, bundles and plots."""
    from lightrnn_pl.training.experiment import train as train_model
    from lightrnn_pl.training.folder_lock import exclusive_lock
    from tests.training.runs import compose_run

    config = compose_run(folder / "run", files, *TRAINING)
    with exclusive_lock(folder / "run"):
        train_model(config)


def export(folder: Path, files: dict[str, Path]) -> None:
    """Export a model, replacing an earlier export."""
    from lightrnn_pl.export.bundle_writer import write_bundle
    from lightrnn_pl.export.folders import new_folder
    from tests.export.bundles import bundle_of

    for name in ("slim", "lightrnn"):
        with new_folder(folder / "export", overwrite=True) as new:
            write_bundle(bundle_of(name), new)


def report(folder: Path, files: dict[str, Path]) -> None:
    """Write the report of two runs."""
    from omegaconf import OmegaConf

    from lightrnn_pl.commands.report import report as write_report

    options = {
        "runs": [str(files["train"].parent / "runs")],
        "output": str(folder / "report"),
        "title": "chaos",
        "keep": None,
    }
    write_report(OmegaConf.create(options))


def cache(folder: Path, files: dict[str, Path]) -> None:
    """Build a token cache."""
    from lightrnn_pl.data.corpus import TextCorpus
    from lightrnn_pl.data.tokens import open_cache
    from lightrnn_pl.vocabulary import VocabularyRules

    open_cache(TextCorpus(**{split: str(path) for split, path in files.items()}), VocabularyRules(), folder / "cache")


STAGES: dict[str, Callable[[Path, dict[str, Path]], None]] = {
    "train": train,
    "cache": cache,
    "export": export,
    "report": report,
}


def result_of(folder: Path) -> dict[str, str]:
    """The hash of every result in ``folder``; those of bundles and checkpoints are the hashes of their tensors."""
    import torch

    results = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".ckpt":
            content = torch.load(path, weights_only=True)
            tensors = content.get("state", content.get("state_dict"))
            data = b"".join(tensor.contiguous().numpy().tobytes() for tensor in tensors.values())
        elif path.suffix in (".bin", ".lines", ".safetensors") or path.name in ("vocabulary", "report.csv"):
            data = path.read_bytes()
        else:
            continue  # times and paths differ
        results[name] = hashlib.sha256(data).hexdigest()
    return results


def leftovers(folder: Path) -> list[str]:
    """Temporary files and folders."""
    return [str(path.relative_to(folder)) for path in folder.rglob("*.part")]


@contextlib.contextmanager
def child(run: Callable[[], None], limit: int | None = None) -> Iterator[int]:
    """Run a function in a forked process, which has everything imported, and yield its process id.

    Args:
        run: The function.
        limit: Maximum size of a file in bytes, which simulates a full disk; None for no limit.
    """
    process = os.fork()
    if process == 0:
        status = 1
        try:
            os.setpgid(0, 0)
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(os.open(_log(os.getpid()), os.O_WRONLY | os.O_CREAT), 2)
            signal.signal(signal.SIGUSR1, signal.SIG_DFL)
            faulthandler.dump_traceback_later(SECONDS, exit=True, file=2)  # a process that hangs is a failure
            if limit is not None:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            run()
            status = 0
        except BaseException as error:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            os.write(2, f"{type(error).__name__}: {error}\n".encode()[:4000])
            os.write(2, traceback.format_exc()[-4000:].encode())
        finally:
            os._exit(status)
    yield process


def _log(process: int) -> str:
    return str(Path(tempfile.gettempdir()) / f"chaos-{process}.log")


def wait(process: int) -> tuple[int, str]:
    """The exit status of a child, and what it wrote to stderr."""
    _, status = os.waitpid(process, 0)
    log = Path(_log(process))
    text = log.read_text(errors="replace") if log.exists() else ""
    log.unlink(missing_ok=True)
    return os.waitstatus_to_exitcode(status), text


class Chaos:
    """Runs stages under attack, and counts what was tried and what passed.

    Args:
        folder: An empty folder for all files.
        seed: Seed of the moments and of the signals.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.generator = folder, np.random.default_rng(seed)
        self.files = write_inputs(folder)
        self.tries: dict[str, int] = {}
        self.failures: dict[str, list[str]] = {}
        self.expected: dict[str, tuple[dict[str, str], float]] = {}
        self._number = 0

    def kills(self, stage: str, number: int) -> None:
        """Kill a stage ``number`` times, and restart it after each kill until it completes."""
        expected, seconds = self._uninterrupted(stage)
        test, remaining = f"kill: {stage}", number
        while remaining > 0:
            folder = self._new_folder()
            while True:
                kind = SIGNALS[int(self.generator.integers(0, len(SIGNALS)))]
                delay = seconds * float(self.generator.uniform(0, 1.1)) if remaining > 0 else None
                with child(lambda folder=folder: STAGES[stage](folder, self.files)) as process:
                    was_killed = delay is not None and self._kill_after(process, kind, delay)
                    status, text = wait(process)
                if not was_killed:
                    self._check(test, status == 0, f"did not resume: {text}")
                    break
                remaining -= 1
                self.tries[test] = self.tries.get(test, 0) + 1
            self._check(test, result_of(folder) == expected, f"another result in {folder}")
            self._check(test, not leftovers(folder), f"leftovers {leftovers(folder)}")
            shutil.rmtree(folder)

    def full_disk(self, stage: str, number: int) -> None:
        """Run a stage with a limit of the file size; it fails with a named error, and completes without the limit."""
        expected, _ = self._uninterrupted(stage)
        test = f"full disk: {stage}"
        for _ in range(number):
            self.tries[test] = self.tries.get(test, 0) + 1
            folder, limit = self._new_folder(), int(10 ** self.generator.uniform(1, 5))
            with child(lambda folder=folder: STAGES[stage](folder, self.files), limit) as process:
                status, text = wait(process)
            first = next((line for line in text.splitlines() if "Error: " in line), "")
            self._check(test, status == 0 or FULL_DISK in text, f"limit {limit}: {first or text[-300:]}")
            with child(lambda folder=folder: STAGES[stage](folder, self.files)) as process:
                status, text = wait(process)
            self._check(test, status == 0, f"did not complete after a full disk: {text}")
            self._check(test, result_of(folder) == expected and not leftovers(folder), f"another result in {folder}")
            shutil.rmtree(folder)

    def together(self, stage: str, number: int, processes: int = 2) -> None:
        """Start a stage several times at once in the same folder; all succeed, and the result is the same."""
        expected, _ = self._uninterrupted(stage)
        test = f"{processes} processes at once: {stage}"
        for _ in range(number):
            self.tries[test] = self.tries.get(test, 0) + 1
            folder, running = self._new_folder(), []
            for _ in range(processes):
                with child(lambda folder=folder: STAGES[stage](folder, self.files)) as process:
                    running.append(process)
            for process in running:
                status, text = wait(process)
                self._check(test, status == 0, text)
            self._check(test, result_of(folder) == expected and not leftovers(folder), f"another result in {folder}")
            shutil.rmtree(folder)

    def passed(self) -> bool:
        """Print the table of all tests; whether all passed."""
        print("| test | tries | passed |\n| --- | ---: | ---: |")
        for test, tries in self.tries.items():
            print(f"| {test} | {tries} | {tries - len(self.failures.get(test, []))} |")
        for test, failures in self.failures.items():
            for failure in failures[:5]:
                print(f"{test}: {failure[-1500:]}", file=sys.stderr)
        return not self.failures

    def _uninterrupted(self, stage: str) -> tuple[dict[str, str], float]:
        if stage not in self.expected:
            folder, started = self._new_folder(), time.monotonic()
            with child(lambda: STAGES[stage](folder, self.files)) as process:
                status, text = wait(process)
            assert status == 0, text
            self.expected[stage] = result_of(folder), time.monotonic() - started
            assert self.expected[stage][0] and not leftovers(folder)
        return self.expected[stage]

    def _kill_after(self, process: int, kind: signal.Signals, delay: float) -> bool:
        """Send a signal after ``delay`` seconds; False if the process had already ended."""
        deadline = time.monotonic() + delay
        while time.monotonic() < deadline:
            if os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                return False
            time.sleep(0.005)
        os.kill(process, kind)
        return True

    def _new_folder(self) -> Path:
        self._number += 1
        folder = self.folder / f"{self._number:04d}"
        folder.mkdir()
        return folder

    def _check(self, test: str, condition: bool, failure: str) -> None:
        if not condition:
            self.failures.setdefault(test, []).append(failure)


def preload() -> None:
    """Import everything before processes are forked."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch

    torch.set_num_threads(1)
    for name in (
        *("lightrnn_pl.commands.report", "lightrnn_pl.export.bundle_writer", "lightrnn_pl.training.experiment"),
        *("datasets", "safetensors.torch", "tests.export.bundles", "tests.reporting.folders", "matplotlib.figure"),
    ):
        importlib.import_module(name)


def main() -> None:
    """Run the suite, and exit with status 1 if a test failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="number of kills over all stages")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stage", choices=STAGES, action="append", help="only these stages")
    arguments = parser.parse_args()
    stages = arguments.stage or list(STAGES)
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        chaos = Chaos(Path(folder), arguments.seed)
        for stage in stages:
            # Half of the kills hit training, which has the most stages of its own.
            share = 0.5 if stage == "train" and len(stages) > 1 else 0.5 / max(1, len(stages) - 1)
            chaos.kills(stage, round(arguments.kills * (share if len(stages) > 1 else 1)))
            chaos.full_disk(stage, max(2, arguments.kills // 20))
            if stage in ("train", "cache"):
                chaos.together(stage, max(1, arguments.kills // 40))
        sys.exit(0 if chaos.passed() else 1)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    preload()
    main()
