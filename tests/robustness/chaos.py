"""Kills, full disks and competing processes at random moments of every stage.

    python tests/robustness/chaos.py --kills 200         # all stages
    python tests/robustness/chaos.py --kills 20 --stage training --seed 5

After each kill, the command is started again, until it completes.  Its result must be the same to the bit as that of an
uninterrupted run, with the same files: no temporary file may remain.  What was complete before a kill must not be
written again.  A process that hangs is a failure.  The tests run a small part of it.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.robustness.forked_process import ForkedProcess, wait_for_all
from tests.robustness.stages import STAGES, completed_runs, leftovers, preload, result_of, size_of, write_inputs

SIGNALS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
SHARES = {
    **{"training": 0.2, "reallocation": 0.2, "checkpoint writing": 0.2},
    **{"caching": 0.1, "export": 0.1, "sweep": 0.1, "report": 0.1},
}
"""The share of each stage in the number of kills."""
FULL_DISK = "no space left"


@dataclass(frozen=True)
class _Expected:
    """An uninterrupted run of a stage: its result, its duration and the bytes of its files."""

    result: dict[str, str]
    seconds: float
    bytes: int


class Chaos:
    """Runs stages under attack, and counts what was tried and what passed.

    Args:
        folder: An empty folder for all files.
        seed: Seed of the moments and of the signals.

    Attributes:
        tries: The number of tries of each test.
        failures: The messages of the failures of each test.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.generator = folder, np.random.default_rng(seed)
        self.files = write_inputs(folder)
        self.tries: dict[str, int] = {}
        self.failures: dict[str, list[str]] = {}
        self._expected: dict[str, _Expected] = {}

    def kills(self, stage: str, number: int) -> None:
        """Kill a stage ``number`` times, and restart it after each kill until it completes."""
        expected = self._uninterrupted(stage)
        test, remaining = f"kill: {stage}", number
        while remaining > 0:
            folder, complete = self._new_folder(), {}
            while True:
                process = self._start(stage, folder)
                delay = expected.seconds * float(self.generator.uniform(0, 1.1))
                kind = SIGNALS[int(self.generator.integers(0, len(SIGNALS)))]
                was_killed = remaining > 0 and process.kill_after(delay, kind)
                text = process.wait()
                self._check(test, not process.is_hung, text)
                if not was_killed:
                    self._check(test, process.status == 0, f"did not resume: {text}")
                    break
                remaining -= 1
                self._count(test)
                if leftovers(folder):
                    self._count(f"{test}, while a file was written")
                complete |= completed_runs(folder)
            self._check_result(test, folder, expected)
            self._check(test, complete.items() <= completed_runs(folder).items(), "a completed run was written again")
            shutil.rmtree(folder)

    def full_disk(self, stage: str, number: int) -> None:
        """Run a stage with a limit of the file size; it fails with a named error, and completes without the limit."""
        expected = self._uninterrupted(stage)
        test = f"limited file size: {stage}"
        for _ in range(number):
            self._count(test)
            folder, limit = self._new_folder(), int(10 ** self.generator.uniform(1, 5))
            self._check_full(test, self._start(stage, folder, limit), f"limit {limit}")
            self._check_completes(test, stage, folder, expected)
            shutil.rmtree(folder)

    def small_disk(self, stage: str, number: int) -> None:
        """Run a stage on a small file system; it fails with a named error, and completes once there is space."""
        expected = self._uninterrupted(stage)
        test = f"full disk: {stage}"
        for _ in range(number):
            folder, size = self._new_folder(), int(expected.bytes * self.generator.uniform(0, 1))
            with file_system(folder, size) as enlarge:
                self._count(test)
                self._check_full(test, self._start(stage, folder), f"disk of {size} bytes")
                enlarge()
                self._check_completes(test, stage, folder, expected)

    def together(self, stage: str, number: int, processes: int = 2) -> None:
        """Start a stage several times at once in the same folder; all succeed, and the result is the same."""
        expected = self._uninterrupted(stage)
        test = f"{processes} processes at once: {stage}"
        for _ in range(number):
            self._count(test)
            folder = self._new_folder()
            running = [self._start(stage, folder) for _ in range(processes)]
            # One may wait for another, which must not wait until its output is read.
            wait_for_all(running)
            for process in running:
                text = process.wait()
                self._check(test, process.status == 0, text)
            self._check_result(test, folder, expected)
            shutil.rmtree(folder)

    def passed(self) -> bool:
        """Print the table of all tests; whether all passed."""
        print("| test | tries | passed |\n| --- | ---: | ---: |")
        for test, tries in self.tries.items():
            print(f"| {test} | {tries} | {max(0, tries - len(self.failures.get(test, [])))} |")
        for test, failures in self.failures.items():
            for failure in failures[:5]:
                print(f"{test}: {failure[-3000:]}", file=sys.stderr)
        return not self.failures

    def _uninterrupted(self, stage: str) -> _Expected:
        if stage not in self._expected:
            folder, started = self._new_folder(), time.monotonic()
            process = self._start(stage, folder)
            text = process.wait()
            seconds = time.monotonic() - started
            assert process.status == 0, text
            self._expected[stage] = _Expected(result_of(folder), seconds, size_of(folder))
            assert self._expected[stage].result and not leftovers(folder)
        return self._expected[stage]

    def _start(self, stage: str, folder: Path, limit: int | None = None) -> ForkedProcess:
        return ForkedProcess(lambda: STAGES[stage](folder, self.files), limit)

    def _check_full(self, test: str, process: ForkedProcess, context: str) -> None:
        """Check that a process completes or names the full disk."""
        text = process.wait()
        first = next((line for line in text.splitlines() if "Error: " in line), text[-300:])
        passed = (process.status == 0 or FULL_DISK in text) and not process.is_hung
        self._check(test, passed, f"{context}: {first}")

    def _check_completes(self, test: str, stage: str, folder: Path, expected: _Expected) -> None:
        process = self._start(stage, folder)
        text = process.wait()
        self._check(test, process.status == 0, f"did not complete after a full disk: {text}")
        self._check_result(test, folder, expected)

    def _check_result(self, test: str, folder: Path, expected: _Expected) -> None:
        result = result_of(folder)
        different = {name for name, _ in result.items() ^ expected.result.items()}
        self._check(test, not different, f"another result in {folder}: {sorted(different)}")
        self._check(test, not leftovers(folder), f"leftovers: {leftovers(folder)}")

    def _new_folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.folder))

    def _count(self, test: str) -> None:
        self.tries[test] = self.tries.get(test, 0) + 1

    def _check(self, test: str, condition: bool, failure: str) -> None:
        if not condition:
            self.failures.setdefault(test, []).append(failure)


@contextlib.contextmanager
def file_system(folder: Path, size: int) -> Iterator:
    """Mount a file system of ``size`` bytes in memory at ``folder``; yield a function that gives it more space.

    Raises:
        PermissionError: If this process may not mount file systems.
    """

    def mount(option: str) -> None:
        command = ["mount", "-t", "tmpfs", "-o", option, "chaos", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise PermissionError(f"a small file system cannot be mounted: {done.stderr.strip()}")

    mount(f"size={max(size, 4096)}")
    try:
        yield lambda: mount("remount,size=1g")
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def main() -> None:
    """Run the suite, and exit with status 1 if a test failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="number of kills over all stages")
    parser.add_argument("--disks", type=int, help="number of full disks per stage; default: a fifth of the kills")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stage", choices=STAGES, action="append", help="only these stages")
    arguments = parser.parse_args()
    stages = arguments.stage or list(STAGES)
    total = sum(SHARES[stage] for stage in stages)
    preload()
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        chaos = Chaos(Path(folder), arguments.seed)
        for stage in stages:
            kills = round(arguments.kills * SHARES[stage] / total)
            chaos.kills(stage, kills)
            disks = max(2, kills // 5) if arguments.disks is None else arguments.disks
            chaos.full_disk(stage, disks)
            try:
                chaos.small_disk(stage, disks)
            except PermissionError as error:
                print(f"skipped: {error}", file=sys.stderr)
            if stage in ("training", "caching"):
                chaos.together(stage, max(1, kills // 10))
            print(f"{stage}: {time.process_time():.0f} s", file=sys.stderr)
        sys.exit(0 if chaos.passed() else 1)


if __name__ == "__main__":
    main()
