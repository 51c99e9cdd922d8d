"""``lightrnn-train debug=size``: the size of every export of a configuration, before training.

The model is built without training, with random weights, and exported in every format to a temporary folder.  The sizes
of weights, graphs, words and word table do not depend on the values of the weights, so those of the trained model are
the same.  Only the files with metadata also contain the metrics of the run, which take some hundred bytes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from lightrnn_pl.building import build_allocation, build_model, instantiate
from lightrnn_pl.checkpoint import Bundle
from lightrnn_pl.data.datamodule import CorpusDataModule
from lightrnn_pl.export.bundle_writer import write_bundle
from lightrnn_pl.export.card import model_card
from lightrnn_pl.export.folders import device_bytes, folder_bytes
from lightrnn_pl.export.onnx_writer import write_onnx
from lightrnn_pl.training.configuration_keys import check_keys
from lightrnn_pl.training.configuration_values import check_values
from lightrnn_pl.training.tracking.console import print_model

_WRITERS: dict[str, Callable[[Bundle, Path], object]] = {
    "safetensors": write_bundle,
    "int8": lambda bundle, folder: write_bundle(bundle, folder, eight_bits=True),
    "onnx": write_onnx,
    "onnx_int8": lambda bundle, folder: write_onnx(bundle, folder, eight_bits=True),
}


def print_export_sizes(config: DictConfig) -> dict[str, dict[str, int]]:
    """Print the size of each export of the model that ``config`` describes.

    Returns:
        Format -> file -> bytes.  Formats that the model or the installed packages do not support have no files; the
        reason is printed.

    Raises:
        ValueError, FileNotFoundError: For invalid input.
    """
    check_keys(config)
    check_values(config)
    if config.init_from is not None:
        raise ValueError(f"debug=size is for new models; run lightrnn-export checkpoint={config.init_from} instead")
    bundle = _untrained(config)
    print_model(bundle.model)
    sizes: dict[str, dict[str, int]] = {}
    reasons: dict[str, list[str]] = {}
    for name, write in _WRITERS.items():
        with tempfile.TemporaryDirectory(prefix="lightrnn-size-") as folder:
            try:
                write(bundle, Path(folder))
            except ValueError as error:
                sizes[name] = {}
                reasons.setdefault(str(error), []).append(name)
                continue
            (Path(folder) / "README.md").write_text(model_card(bundle, name, {}), encoding="utf-8")
            sizes[name] = folder_bytes(Path(folder))
    _print(sizes, reasons)
    return sizes


def _untrained(config: DictConfig) -> Bundle:
    datamodule: CorpusDataModule = instantiate(config.data)
    datamodule.prepare_data()
    datamodule.setup("fit")
    vocabulary = datamodule.vocabulary
    allocation = build_allocation(config, vocabulary, assign_words=False)
    # Models whose words are in the order of their ids need no table of where their vectors are stored.
    generator = torch.Generator().manual_seed(0)
    allocation.assign(allocation.codes[torch.randperm(len(vocabulary), generator=generator)])
    model = build_model(config, allocation, vocabulary, tokens=datamodule.training_tokens())
    with torch.no_grad():
        for parameter in model.parameters():
            # Equal tensors, such as biases of zeros, are stored only once.
            parameter.uniform_(-0.1, 0.1)
    return Bundle(model.eval(), vocabulary, config, datamodule.protocol(), {})


def _print(sizes: dict[str, dict[str, int]], reasons: dict[str, list[str]]) -> None:
    names = sorted({name for files in sizes.values() for name in files})
    table = Table(title="bytes of each export", title_justify="left")
    table.add_column("file")
    for format in sizes:
        table.add_column(format, justify="right")
    for name in names:
        table.add_row(name, *(f"{files[name]:,}" if name in files else "" for files in sizes.values()))
    table.add_section()
    table.add_row("total", *(f"{sum(files.values()):,}" if files else "-" for files in sizes.values()), style="bold")
    on_device = {format: device_bytes(files) for format, files in sizes.items()}
    for client in sorted({client for clients in on_device.values() for client in clients}):
        cells = (f"{clients[client]:,}" if client in clients else "" for clients in on_device.values())
        table.add_row(f"on a device, with {client}", *cells)
    console = Console()
    console.print(table)
    for reason, formats in reasons.items():
        # Not wrapped, so that a command in it can be copied.
        console.print(f"{', '.join(formats)}: {reason}", markup=False, highlight=False, soft_wrap=True)
