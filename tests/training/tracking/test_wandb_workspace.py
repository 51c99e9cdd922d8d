"""The W&B workspace: its panels are built from a description and sent only if there is an API key."""

import json

import pytest
from hydra import compose, initialize_config_module

from lightrnn_pl.training.tracking.wandb_workspace import build_workspace, make_workspace

ws = pytest.importorskip("wandb_workspaces.workspaces")


def configuration(*overrides):
    with initialize_config_module("lightrnn_pl.conf", version_base="1.3"):
        return compose("dashboard", list(overrides))


@pytest.fixture
def no_key(monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))


@pytest.fixture
def sent(monkeypatch):
    """The views that would be sent to the server."""
    views = []

    def upsert(view):
        views.append(view)
        return {"upsertView": {"view": {"name": "nw-abc-v", "id": "1"}}}

    monkeypatch.setattr(ws.internal, "upsert_view2", upsert)
    monkeypatch.setattr(ws.Workspace, "url", property(lambda self: f"https://host/{self.entity}/{self.project}"))
    return views


def test_every_panel_can_be_built():
    config = configuration()
    workspace = build_workspace({**config, "entity": "e"})
    spec = workspace._to_model().spec.model_dump(by_alias=True, exclude_none=True)["section"]
    sections = spec["panelBankConfig"]["sections"]
    assert [section["name"] for section in sections] == [section.name for section in config.sections]
    for section, described in zip(sections, config.sections, strict=True):
        assert len(section["panels"]) == len(described.panels) > 2
    text = json.dumps(sections)
    for name in ("test/perplexity", "round/valid_perplexity", "table/moved", "figures/rounds", "summary:parameters"):
        assert f'"{name}"' in text, name
    (runs,) = spec["runSets"]
    assert runs["grouping"] == [{"section": "run", "name": "group"}]
    assert runs["runFeed"]["columnPinned"]["summary:test/perplexity"]


def test_nothing_is_sent_without_a_key(no_key, sent, capsys):
    with pytest.raises(ValueError, match=r"no W&B API key, so no workspace was created; run `wandb login`"):
        make_workspace(configuration())
    assert not sent
    output = capsys.readouterr().out
    assert "Word table" in output and "table/frequency" in output


def test_the_workspace_is_sent_with_a_key(monkeypatch, sent, capsys):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    url = make_workspace(configuration("entity=team", "project=vocabularies", "name=Mine", "group_by=[]"))
    (view,) = sent
    assert (view.entity, view.project, view.display_name) == ("team", "vocabularies", "Mine")
    assert view.spec.section.run_sets[0].grouping == []
    assert url == "https://host/team/vocabularies" and url in capsys.readouterr().out


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sections.0.panels.0.panel=Layout", r"W&B has no panel Layout"),
        ("sections.0.panels.0.panel=Bogus", r"W&B has no panel Bogus"),
        ("+sections.0.panels.0.bogus=1", r"invalid panel .*Test perplexity.*: .*bogus"),
    ],
)
def test_rejects_invalid_panels(override, message, monkeypatch, sent):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    with pytest.raises(ValueError, match=message):
        make_workspace(configuration(override))
    assert not sent


def test_the_error_names_the_missing_package(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "wandb_workspaces.workspaces", None)
    with pytest.raises(ValueError, match=r"pip install 'lightrnn_pl\[dashboards\]'"):
        build_workspace(configuration())
