"""The hub's mixin on a local folder, without network access."""

import pytest

from lightrnn_pl import load
from tests.export.bundles import bundle_of

hub = pytest.importorskip("lightrnn_pl.export.hub")


def test_saves_and_loads_a_model(tmp_path):
    bundle = bundle_of("lightrnn")
    hub.HubModel(bundle).save_pretrained(tmp_path / "model")
    names = sorted(path.name for path in (tmp_path / "model").iterdir())
    assert names == ["README.md", "config.json", "model.safetensors", "vocabulary.txt.gz"]
    loaded = hub.HubModel.from_pretrained(str(tmp_path / "model"))
    assert loaded.bundle.score(["the w3"]) == bundle.score(["the w3"])
    assert load(tmp_path / "model").config == bundle.config
    assert (tmp_path / "model" / "README.md").read_text().startswith("---\nlibrary_name: lightrnn_pl\n")


def test_pushes_the_folder(tmp_path, monkeypatch):
    pushed = {}

    class Api:
        def __init__(self, token=None):
            pass

        def create_repo(self, repo_id, **_):
            return type("Repo", (), {"repo_id": repo_id})

        def upload_folder(self, folder_path, **_):
            import shutil

            pushed["folder"] = shutil.copytree(folder_path, tmp_path / "pushed")

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Api)
    hub.HubModel(bundle_of("slim")).push_to_hub("me/model")
    monkeypatch.setattr(hub, "snapshot_download", lambda model_id, **_: pushed["folder"])
    monkeypatch.setattr("huggingface_hub.hub_mixin.hf_hub_download", lambda **_: pushed["folder"] / "config.json")
    assert hub.HubModel.from_pretrained("me/model").bundle.score(["the"]) == bundle_of("slim").score(["the"])


def test_rejects_other_models(tmp_path):
    with pytest.raises(ValueError, match="is not a lightrnn_pl model"):
        hub.HubModel.from_pretrained(str(tmp_path))
