"""What ``lightrnn-export`` does: write, read back, hold against the trained model, and only then move into place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lightrnn_pl.building import as_plain, instantiate
from lightrnn_pl.checkpoint import Bundle, load, named_checkpoint
from lightrnn_pl.checks import check_count, check_flag
from lightrnn_pl.evaluation.text_data import datamodule_for_text
from lightrnn_pl.export.card import model_card
from lightrnn_pl.export.folders import check_free, folder_bytes, new_folder
from lightrnn_pl.export.formats import FORMATS, Validation
from lightrnn_pl.files import atomic_write, write_json
from lightrnn_pl.inference.text_lines import require_file
from lightrnn_pl.run_folder import RunFolder


def export(config: DictConfig) -> dict[str, Any]:
    """Export ``config.checkpoint`` to the folder ``config.output``, print what came of it, and return that.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: Naming the key, for what cannot be exported, or where what was written is not the trained model.
    """
    write = FORMATS.get(config.format)
    if write is None:
        raise ValueError(f"format={config.format} is none of {', '.join(FORMATS)}")
    named_checkpoint(config.checkpoint)
    if not config.output:
        raise ValueError(f"output={config.output} is not a folder; output must name a folder that does not exist yet")
    for name in ("check_words", "largest_table"):
        check_count(name, config[name])
    if config.words is not None:
        check_count("words", config.words)
    check_flag("overwrite", config.overwrite)
    output = Path(config.output)
    check_free(output, config.overwrite)
    bundle = load(config.checkpoint)
    validation, why_not = _validation(config, bundle)
    with new_folder(output, config.overwrite) as folder:
        report = {"checkpoint": str(config.checkpoint), "output": str(output), "format": config.format}
        report |= write(bundle, folder, config, validation)
        if why_not:
            report["not_measured"] = why_not
        with atomic_write(folder / "README.md", "w") as file:
            file.write(model_card(bundle, config.format, report))
        report["bytes"] = folder_bytes(folder)
        report["total_bytes"] = sum(report["bytes"].values())
        report["checkpoint_bytes"] = _bytes_of(Path(config.checkpoint))
    if config.json:
        write_json(config.json, report)
    _print(report)
    return report


def _validation(config: DictConfig, bundle: Bundle) -> tuple[Validation | None, str]:
    """The text to measure on; or None, and why there is none."""
    if config.valid is None:
        return None, "no text was asked for (valid=null)"
    own = as_plain(bundle.config)["data"] if "data" in bundle.config else None
    if config.valid != "own":
        require_file("valid", config.valid)
        loader = datamodule_for_text(bundle, config.valid).loader_for(bundle.vocabulary, "test")
        return Validation(loader, Path(config.valid).name, config.words), ""
    if own is None:
        return None, "the model has no corpus in its configuration; pass a text with valid="
    try:
        loader = instantiate(own).loader_for(bundle.vocabulary, "valid")
    except (OSError, ValueError) as error:
        return None, f"the text the model was trained with is not at hand: {error}; give another with valid="
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
    table.add_row("together", f"{report['total_bytes']:,}", style="bold")
    table.add_row("the checkpoint", f"{report['checkpoint_bytes']:,}")
    console.print(table)
    for what, size in report.get("written_out_bytes", {}).items():
        console.print(Text(f"written out as a table: {what}, {size:,} bytes"))
    console.print(Text(report["agreement"]))
    if "perplexity" in report:
        found = report["perplexity"]
        console.print(
            Text(
                f"perplexity on {found['text']}: {found['before']:.2f} before, {found['after']:.2f} after "
                f"({found['change']:+.3%})"
            )
        )
    else:
        console.print(Text(f"perplexity was not measured: {report['not_measured']}"))
