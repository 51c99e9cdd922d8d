"""Writes the model that is part of the package to ``lightrnn_pl/demo``, given the run that trained it.

lightrnn-train experiment=demo/shipped hydra.run.dir=outputs/demo
python docs/demo_model.py outputs/demo
"""

from __future__ import annotations

import argparse
import platform
from dataclasses import replace
from pathlib import Path

import torch
from omegaconf import OmegaConf

from lightrnn_pl import Bundle, load
from lightrnn_pl.evaluation.perplexity import measure_perplexity
from lightrnn_pl.evaluation.text_data import own_datamodule
from lightrnn_pl.export.bundle_writer import write_bundle
from lightrnn_pl.export.card import model_card
from lightrnn_pl.export.folders import folder_bytes, new_folder

FOLDER = Path(__file__).resolve().parents[1] / "lightrnn_pl" / "demo"

KEPT = ("name", "seed", "data", "model", "allocation", "optimizer", "schedule", "trainer")
"""The settings that describe the model and its training; the others are folders and loggers of one machine."""

ORIGIN = """## Training data and license

The model was trained on the documentation that is part of CPython {version}: the help topics of `pydoc` and the
docstrings of the standard library ({tokens:,} tokens, lowercased, numbers replaced by `N`; `lightrnn_pl.data.pydoc`).
The documentation is copyright the Python Software Foundation and may be redistributed under the PSF License Version 2.
The folder contains the words of its vocabulary and their counts, but none of the text. The model is licensed like
lightrnn_pl, under Apache-2.0.

It was trained with `lightrnn-train experiment=demo/shipped trainer.precision={precision}` and written with
`python docs/demo_model.py`, which measured the figures above. The validation text selected the epoch; the test text
was used only for the perplexity reported here. The text differs slightly between versions of Python, and so do
perplexities.

This model is for trying the commands. It knows only the language of technical documentation.
"""


def main(run: Path) -> None:
    """Write the folder and print its size."""
    bundle = without_machine(load(run))
    with new_folder(FOLDER, overwrite=True) as folder:
        exported, _ = write_bundle(bundle, folder, eight_bits=True)
        rows = []
        for split in ("valid", "test"):
            before, after = (perplexity(model, split) for model in (bundle, exported))
            rows.append(f"| {split} | {before:.2f} | {after:.2f} |")
        text = ORIGIN.format(
            version=platform.python_version(),
            tokens=bundle.protocol["tokens"]["train"],
            precision=bundle.config.trainer.precision,
        )
        figures = "\n".join(["| perplexity | 32 bits | 8 bits (this folder) |", "| --- | --- | --- |", *rows])
        card = model_card(exported, "int8", {}).replace('load("FOLDER")', 'load("demo")').replace('"FOLDER"', '"."')
        (folder / "README.md").write_text(f"{card}\n## Figures\n\n{figures}\n\n{text}", encoding="utf-8")
        print(figures)
        print(folder_bytes(folder), sum(folder_bytes(folder).values()))


def without_machine(bundle: Bundle) -> Bundle:
    """The bundle without the settings that name folders of this machine."""
    config = OmegaConf.create({key: bundle.config[key] for key in KEPT})
    del config.data.cache_dir
    return replace(bundle, config=config)


def perplexity(bundle: Bundle, split: str) -> float:
    """The perplexity on a split of the model's corpus."""
    loader = own_datamodule(bundle, cache=False).loader_for(bundle.vocabulary, split)
    return measure_perplexity(bundle.model, loader, bundle.vocabulary, torch.device("cpu")).perplexity


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the run folder")
    main(parser.parse_args().run)
