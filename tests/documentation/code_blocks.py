"""The code blocks of the README and of the pages for users, run in order on tiny texts as a reader would.

A block is run unless its first comment is ``# Not run by the tests: REASON``; then only its syntax is checked, and the
configuration of its ``lightrnn-*`` commands is composed.  A block whose first line is ``# file: PATH`` is written to
that file.  Blocks of the language ``text`` and directives of the site are not code.
"""

import os
import re
import shlex
import shutil
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

from hydra import compose, initialize_config_module

ROOT = Path(__file__).parents[2]
_FILES = ("README.md", "docs/quick_start.md", "docs/reference/commands.md", "docs/reference/performance.md")
PAGES = [
    *(ROOT / name for name in _FILES),
    *sorted((ROOT / "docs" / "guides").glob("*.md")),
    *sorted((ROOT / "docs" / "concepts").glob("*.md")),
]

_FENCE = re.compile(r"^```(.*?)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_NOT_RUN = re.compile(r"^# Not run by the tests: (\S.+)$", re.MULTILINE)
_FILE = re.compile(r"# file: (\S+)\n")
_EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]

BRIEF = (
    *("trainer=cpu", "trainer.max_epochs=1", "trainer.limit_train_batches=2", "logger=none", "callbacks=quiet"),
    *("data.batch_size=4", "data.sequence_length=7", "data.eval_batch_size=100"),
)
"""Overrides that make training brief, unless a command has other values.

The default run folder would be the same for two runs in the same second.
"""

_TRAIN = """#!/bin/bash
extra=()
for override in {brief} hydra.run.dir=outputs/$$; do
    case " $* " in *" ${{override%%=*}}="*) ;; *) extra+=("$override") ;; esac
done
# Hydra reads options before or after all overrides, not between them.
case $1 in -*) exec {command} "$@" "${{extra[@]}}" ;; *) exec {command} "${{extra[@]}}" "$@" ;; esac
"""
_PYTHON = """\
import lightrnn_pl.commands.python_train as module
full = module.train
module.train = lambda overrides=(), run_dir=None: full([*overrides, *{brief}], run_dir)
"""


@dataclass(frozen=True)
class Block:
    """A code block: its language and its text."""

    language: str
    text: str

    @property
    def reason_not_run(self) -> str | None:
        """Why the block is not run, or None."""
        match = _NOT_RUN.search(self.text)
        return match and match[1]

    @property
    def file(self) -> str | None:
        """The file to which the block is written, or None."""
        match = _FILE.match(self.text)
        return match and match[1]


def blocks_of(page: Path) -> list[Block]:
    """The code blocks of a page, without directives of the site."""
    found = (Block(language, text) for language, text in _FENCE.findall(page.read_text(encoding="utf-8")))
    return [block for block in found if block.language != "text" and not block.language.startswith("{")]


def prepare(folder: Path, texts: dict[str, Path], commands: Path) -> None:
    """Give a reader's folder its texts and the folders of the checkout, and ``bin`` with a brief ``lightrnn-train``."""
    for split, path in texts.items():
        (folder / f"{split}.txt").symlink_to(path)
    for name in ("benchmarks", "multirun_scripts"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "bin").mkdir()
    train = folder / "bin" / "lightrnn-train"
    command = shlex.quote(str(commands / "lightrnn-train"))
    train.write_text(_TRAIN.format(brief=" ".join(BRIEF), command=command))
    train.chmod(0o755)


def run(block: Block, folder: Path, commands: Path) -> None:
    """Run a block in a folder that :func:`prepare` has written, or check it if it cannot be run."""
    if block.file:
        (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
        (folder / block.file).write_text(_FILE.sub("", block.text), encoding="utf-8")
    elif block.language == "python":
        compile(block.text, "block", "exec")
        if not block.reason_not_run:
            (folder / "block.py").write_text(_PYTHON.format(brief=BRIEF) + block.text, encoding="utf-8")
            _bash("python block.py", folder, commands)
    elif block.language == "js":
        if node := shutil.which("node"):
            (folder / "block.mjs").write_text(block.text, encoding="utf-8")
            subprocess.run([node, "--check", folder / "block.mjs"], check=True)
    else:
        assert block.language == "bash", block
        if not block.reason_not_run:
            _bash(_without_installation(block.text), folder, commands)
        else:
            _bash(block.text, folder, commands, "-n")
            check_configurations(block.text)


def _bash(script: str, folder: Path, commands: Path, *options: str) -> None:
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(folder / "bin"), str(commands), os.environ["PATH"]]),
        "LIGHTRNN_CACHE": str(folder / "cache"),
        **{"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline"},
    }
    done = subprocess.run(
        ["bash", *options, "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}"


def _without_installation(script: str) -> str:
    """The lines that are not part of an installation; the extras and targets that those name must exist."""
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    kept = []
    for line in script.splitlines():
        words = line.partition(" #")[0].replace("'", "").split()
        if words[:2] == ["pip", "install"]:
            assert words[-2] == "-e", line
            extras = re.fullmatch(r"\.(?:\[(.*)\])?", words[-1])
            assert extras and set(filter(None, (extras[1] or "").split(","))) <= _EXTRAS.keys(), line
        elif words[:1] == ["make"]:
            assert words[1] in targets, line
        elif words[:2] not in (["git", "clone"], ["source", ".venv/bin/activate"]):
            kept.append(line)
    return "\n".join(kept)


def check_configurations(script: str) -> None:
    """Compose the configuration of each ``lightrnn-*`` command and of each script of ``multirun_scripts``."""
    for line in script.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        for number, word in enumerate(words):
            if word.startswith("multirun_scripts/"):
                assert (ROOT / word).is_file(), word
                experiment = Path(word).stem.replace("_", "/")
                exists = (ROOT / "conf" / "experiment" / f"{experiment}.yaml").is_file()
                _compose("train", [*([f"experiment={experiment}"] if exists else []), *words[number + 1 :]])
            elif word.startswith("lightrnn-") and "--config-dir" not in words:
                _compose(word.removeprefix("lightrnn-"), words[number + 1 :])


def _compose(name: str, arguments: list[str]) -> None:
    overrides = [argument for argument in arguments if argument != "-m"]
    if "-m" in arguments or name == "train":
        # The first value of each key of a sweep.
        overrides = [override if "[" in override else override.partition(",")[0] for override in overrides]
    with initialize_config_module("lightrnn_pl.conf", version_base="1.3"):
        compose(name, overrides, return_hydra_config=True)
