"""Creates a W&B workspace from a description of its sections and panels.

It requires the package ``wandb-workspaces``, an optional dependency.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from lightrnn_pl.building import as_plain
from lightrnn_pl.training.tracking.wandb_runs import has_api_key

_SUMMARY_AXES = ("x", "y", "z")
"""Axes of a scatter plot; each point is a run, so they show summary metrics."""


def make_workspace(config: DictConfig) -> str:
    """Print the panels, create the workspace on the server, and return its URL.

    Args:
        config: The description, as in ``conf/dashboard.yaml``.

    Raises:
        ValueError: If a panel or one of its arguments is unknown to W&B, the package is not installed, or there is no
            API key; the message contains the remedy.
    """
    description = as_plain(config)
    print_workspace(description)
    workspace = build_workspace(description)
    if not has_api_key():
        raise ValueError("no W&B API key, so no workspace was created; run `wandb login` or set WANDB_API_KEY")
    if not workspace.entity:
        import wandb

        workspace.entity = wandb.Api().default_entity
    workspace.save()
    print(f"workspace: {workspace.url}")
    return workspace.url


def build_workspace(description: Mapping[str, Any]) -> Any:
    """The ``wandb_workspaces.workspaces.Workspace`` of a description; nothing is sent to the server.

    Raises:
        ValueError: See :func:`make_workspace`.
    """
    try:
        import wandb_workspaces.workspaces as ws
        from wandb_workspaces import expr
    except ModuleNotFoundError as error:
        raise ValueError(
            f"the package wandb-workspaces is required ({error}); pip install 'lightrnn_pl[dashboards]'"
        ) from error
    sections = [
        ws.Section(name=section["name"], panels=[_panel(panel) for panel in section["panels"]], is_open=True)
        for section in description["sections"]
    ]
    return ws.Workspace(
        entity=description["entity"] or "",
        project=description["project"],
        name=description["name"],
        sections=sections,
        runset_settings=ws.RunsetSettings(
            groupby=[expr.Metric(key) for key in description["group_by"]],
            pinned_columns=[f"summary:{column}" for column in description["columns"]],
        ),
    )


def print_workspace(description: Mapping[str, Any]) -> None:
    """Print the sections, their panels, and the metrics of each panel as a tree."""
    tree = Tree(f"workspace {description['name']} of project {description['project']}", guide_style="dim")
    for section in description["sections"]:
        branch = tree.add(f"[bold]{section['name']}")
        for panel in section["panels"]:
            shown = ", ".join(metrics_of(panel))
            branch.add(escape(panel.get("title", panel["panel"])) + (f" [dim]({escape(shown)})" if shown else ""))
    Console().print(tree)


def metrics_of(panel: Mapping[str, Any]) -> list[str]:
    """The names of the logged metrics that a panel shows, those of its axes first."""
    single = [panel[axis] for axis in (*_SUMMARY_AXES, "table_name") if isinstance(panel.get(axis), str)]
    listed = [name for key in ("y", "metrics", "media_keys") if isinstance(panel.get(key), list) for name in panel[key]]
    return single + listed


def _panel(panel: Mapping[str, Any]) -> Any:
    import wandb_workspaces.reports.v2 as wr

    kind = getattr(wr, panel["panel"], None)
    if not (isinstance(kind, type) and hasattr(kind, "_to_model") and hasattr(kind, "layout")):
        raise ValueError(f"W&B has no panel {panel['panel']}; use a panel class of wandb_workspaces.reports.v2")
    arguments = {key: value for key, value in panel.items() if key != "panel"}
    if kind is wr.ScatterPlot:
        arguments |= {axis: wr.SummaryMetric(arguments[axis]) for axis in _SUMMARY_AXES if axis in arguments}
    try:
        return kind(**arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"invalid panel {panel}: {' '.join(str(error).split())}") from error
