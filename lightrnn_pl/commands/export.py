"""``lightrnn-export``: export a model, and verify the export before its folder appears."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lightrnn_pl.checkpoint import Bundle, load, model_path, resolve_checkpoint
from lightrnn_pl.checks import check_choice, check_count, check_flag, check_number
from lightrnn_pl.commands.unused_options import check_unused
from lightrnn_pl.evaluation.text_data import datamodule_for_text, own_data, own_datamodule
from lightrnn_pl.export.card import model_card
from lightrnn_pl.export.folders import check_free, device_bytes, folder_bytes, new_folder
from lightrnn_pl.export.formats import FORMATS, Validation
from lightrnn_pl.files import atomic_write, write_json
from lightrnn_pl.inference.text_lines import require_file
from lightrnn_pl.run_folder import RunFolder


def export(config: DictConfig) -> dict[str, Any]:
    """Export ``config.checkpoint`` to the folder ``config.output``; print a report and return it.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a setting is invalid, or the export differs from the trained model.
    """
    check_choice("format", config.format, tuple(FORMATS))
    write = FORMATS[config.format]
    resolve_checkpoint(config.checkpoint)
    if not config.output:
        raise ValueError(f"output={config.output} is not a folder; output must name a folder that does not exist yet")
    for name in ("check_words", "largest_table"):
        check_count(name, config[name])
    check_number("tolerance", config.tolerance, at_least=0)
    if config.words is not None:
        check_count("words", config.words)
    check_flag("overwrite", config.overwrite)
    if config.valid is None:
        check_unused(config, "applies to the validation text; omit valid=null, or omit this", words=100000)
    if config.format in ("safetensors", "int8"):
        reason = "applies to format=onnx, onnx_int8, executorch and sherpa_onnx only; omit it"
        check_unused(config, reason, check_words=300, largest_table=1024)
    if config.format == "sherpa_onnx":
        check_unused(config, "does not apply to format=sherpa_onnx; omit it", words=100000)
    else:
        check_unused(config, "applies to format=sherpa_onnx only; omit it", tokens=None)
    if config.format != "onnx_int8":
        check_unused(config, "applies to format=onnx_int8 only; omit it", tolerance=0.05)
    output = Path(config.output)
    check_free(output, config.overwrite)
    bundle = load(config.checkpoint)
    validation, reason = _validation(config, bundle)
    with new_folder(output, config.overwrite) as folder:
        report = {"checkpoint": str(config.checkpoint), "output": str(output), "format": config.format}
        report |= write(bundle, folder, config, validation)
        if reason:
            report.setdefault("not_measured", reason)
        with atomic_write(folder / "README.md", "w") as file:
            file.write(model_card(bundle, config.format, report))
        report["bytes"] = folder_bytes(folder)
        report["total_bytes"] = sum(report["bytes"].values())
        report["device_bytes"] = device_bytes(report["bytes"])
        report["checkpoint_bytes"] = _bytes_of(model_path(config.checkpoint))
    if config.json:
        write_json(config.json, report)
    _print(report)
    return report


def _validation(config: DictConfig, bundle: Bundle) -> tuple[Validation | None, str]:
    """The text on which perplexity is measured, or None and the reason."""
    if config.valid is None:
        return None, "disabled by valid=null"
    if config.valid != "own":
        require_file("valid", config.valid)
        loader = datamodule_for_text(bundle, config.valid, "valid").loader_for(bundle.vocabulary, "valid")
        return Validation(loader, Path(config.valid).name, config.words), ""
    if own_data(bundle) is None:
        return None, "the configuration of the model does not contain a corpus; pass a text with valid=FILE"
    try:
        loader = own_datamodule(bundle, cache_dir=config.paths.cache_dir).loader_for(bundle.vocabulary, "valid")
    except (OSError, ValueError) as error:
        return None, f"the corpus of the model is not available: {error}; pass another text with valid=FILE"
    return Validation(loader, "its validation text", config.words), ""


def _bytes_of(path: Path) -> int:
    if RunFolder(path).best.is_file():
        path = RunFolder(path).best
    return path.stat().st_size if path.is_file() else sum(folder_bytes(path).values())


def _print(report: dict[str, Any]) -> None:
    console = Console()
    table = Table(title=f"{report['output']} ({report['format']})", title_justify="left")
    table.add_column("file")
    table.add_column("bytes", justify="right")
    for name, size in report["bytes"].items():
        table.add_row(name, f"{size:,}")
    table.add_section()
    table.add_row("total", f"{report['total_bytes']:,}", style="bold")
    console.print(table)
    for client, size in report["device_bytes"].items():
        console.print(Text(f"on a device, with {client}: {size:,} bytes"))
    console.print(Text(f"the checkpoint takes {report['checkpoint_bytes']:,} bytes"))
    for name, size in report.get("written_out_bytes", {}).items():
        console.print(Text(f"expanded to a full table: {name}, {size:,} bytes"))
    console.print(Text(report["agreement"]))
    if "perplexity" in report:
        perplexity = report["perplexity"]
        console.print(
            Text(
                f"perplexity on {perplexity['text']}: {perplexity['before']:.2f} before, {perplexity['after']:.2f} "
                f"after ({perplexity['change']:+.3%})"
            )
        )
    else:
        console.print(Text(f"perplexity was not measured: {report['not_measured']}"))
