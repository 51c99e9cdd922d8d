"""The rows of the papers' tables and figures, read from ``conf/experiment``."""

import itertools
import re
from pathlib import Path

from omegaconf import OmegaConf

CONF = Path(__file__).parents[1] / "conf" / "experiment"
EXPERIMENTS = {
    path.relative_to(CONF).as_posix().removesuffix(".yaml"): OmegaConf.to_container(OmegaConf.load(path))
    for path in sorted(CONF.rglob("*.yaml"))
    if not path.stem.startswith("_")
}
SELECTORS = {"models": "paper.model", "languages": "data.language", "tables": "paper.table"}
"""The override that selects a row, by the mapping under ``paper`` whose keys are its values."""


def rows_of(name: str) -> list[tuple[str, ...]]:
    """The overrides that select each row of an experiment: its name and at most one more."""
    paper = EXPERIMENTS[name].get("paper") or {}
    choices = [f"{key}={value}" for group, key in SELECTORS.items() for value in paper.get(group, ())]
    choices = [choice for choice in choices if choice != f"paper.table={paper['table']}"]
    only_row = [] if {"models", "languages"} & set(paper) else [(f"experiment={name}",)]
    return only_row + [(f"experiment={name}", choice) for choice in choices]


ROWS = list(itertools.chain.from_iterable(map(rows_of, EXPERIMENTS)))
OF_PAPERS = [row for row in ROWS if re.search(r"/(table|figure)\d", row[0])]
