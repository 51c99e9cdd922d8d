"""The W&B workspace: its description makes panels, and they are sent only where there is a key."""

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
    """What would go to the server."""
    views = []

    def upsert(view):
        views.append(view)
        return {"upsertView": {"view": {"name": "nw-abc-v", "id": "1"}}}

    monkeypatch.setattr(ws.internal, "upsert_view2", upsert)
    monkeypatch.setattr(ws.Workspace, "url", property(lambda self: f"https://host/{self.entity}/{self.project}"))
    return views


def test_every_panel_can_be_made():
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


def test_without_a_key_nothing_is_made(no_key, sent, capsys):
    with pytest.raises(ValueError, match=r"no W&B key, so nothing was made; give one by `wandb login`"):
        make_workspace(configuration())
    assert not sent
    told = capsys.readouterr().out
    assert "Word table" in told and "table/frequency" in told


def test_with_a_key_it_is_sent(monkeypatch, sent, capsys):
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
        ("+sections.0.panels.0.bogus=1", r"the panel .*Test perplexity.* cannot be made: .*bogus"),
    ],
)
def test_what_is_no_panel_is_told(override, message, monkeypatch, sent):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    with pytest.raises(ValueError, match=message):
        make_workspace(configuration(override))
    assert not sent


def test_the_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "wandb_workspaces.workspaces", None)
    with pytest.raises(ValueError, match=r"pip install 'lightrnn_pl\[dashboards\]'"):
        build_workspace(configuration())
