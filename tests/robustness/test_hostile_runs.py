"""Checkpoints to resume from, run folders and ONNX exports that are hostile or damaged."""

import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from lightrnn_pl.data.dataset_corpus import HubCorpus
from lightrnn_pl.export.onnx_client import OnnxModel
from lightrnn_pl.export.onnx_client import main as client_main
from lightrnn_pl.files import atomic_write
from lightrnn_pl.reporting.runs import read_run
from lightrnn_pl.run_folder import RunFolder
from lightrnn_pl.training.experiment import train
from tests.reporting.folders import make_run
from tests.robustness.canary import no_code_runs
from tests.robustness.mutations import mutate
from tests.robustness.test_hostile_bundles import Exploit
from tests.training import runs

OVERRIDES = ("resume_point.every_steps=10", "trainer.max_epochs=2", "reallocation.epochs_per_round=1")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_text):
    run_dir = tmp_path_factory.mktemp("trained") / "run"
    whole = train(runs.compose_run(run_dir, tiny_text, *OVERRIDES))
    (run_dir / "metrics.json").unlink()  # otherwise, the run is complete
    return run_dir, whole


def resume(trained, tiny_text, tmp_path, change):
    """Resume in a copy of the run folder, in which ``change`` has modified the content of last.ckpt."""
    run_dir = tmp_path / "run"
    shutil.copytree(trained[0], run_dir)
    config = runs.compose_run(run_dir, tiny_text, *OVERRIDES, f"paths.cache_dir={trained[0].parent / 'cache'}")
    (run_dir / "config.yaml").unlink()  # it has the name of the other folder
    content = torch.load(run_dir / "last.ckpt", weights_only=True)
    torch.save(change(content), run_dir / "last.ckpt")
    return train(config)


def _set(*keys, value):
    def change(content):
        content = copy.deepcopy(content)
        node = content
        for key in keys[:-1]:
            node = node[key]
        node[keys[-1]] = value
        return content

    return change


def _without(key):
    return lambda content: {name: part for name, part in content.items() if name != key}


CHECKPOINTS = {
    "code": lambda content: {**content, "exploit": Exploit()},
    "code in a callback": lambda content: {**content, "callbacks": {"ResumePoint": Exploit()}},
    "not a mapping": lambda content: [content],
    "no weights": _without("state_dict"),
    "no loops": _without("loops"),
    "no optimizer": _without("optimizer_states"),
    "no callbacks": lambda content: {**content, "callbacks": {"ResumePoint": {}, "RunMetrics": {}, "Reallocation": {}}},
    "another shape": lambda content: {
        **content,
        "state_dict": {name: tensor[:-1] for name, tensor in content["state_dict"].items()},
    },
    "weights of another type": _set("state_dict", value=5),
    "loops of another type": _set("loops", value=[1]),
    "step of another type": _set("global_step", value="many"),
    "generators of another type": _set("callbacks", "ResumePoint", value={"ranks": "none"}),
    "not finite": lambda content: {
        **content,
        "state_dict": {
            name: tensor * np.nan if tensor.is_floating_point() else tensor
            for name, tensor in content["state_dict"].items()
        },
    },
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_invalid_checkpoints_are_refused(name, trained, tiny_text, tmp_path):
    with pytest.raises(ValueError, match=r"cannot resume|has diverged") as caught:
        resume(trained, tiny_text, tmp_path, CHECKPOINTS[name])
    assert "\n" not in str(caught.value) and "weights_only" not in str(caught.value)
    assert not Path("canary").exists()


def test_an_unchanged_checkpoint_is_resumed(trained, tiny_text, tmp_path):
    """Otherwise, the checkpoints above would be refused for another reason."""
    assert resume(trained, tiny_text, tmp_path, lambda content: content)["test"] == trained[1]["test"]


def test_leftovers_of_a_killed_process_are_removed(trained, tiny_text, tmp_path):
    leftovers = [tmp_path / "run" / ".best.ckpt.abc.part", tmp_path / "run" / "tables" / ".round_1.npz.x.part"]

    def change(content):
        for leftover in leftovers:
            leftover.parent.mkdir(exist_ok=True)
            leftover.touch()
        return content

    resume(trained, tiny_text, tmp_path, change)
    assert not any(leftover.exists() for leftover in leftovers)


def test_partial_files_are_recognized(tmp_path):
    """The names of temporary files are those that ``remove_leftovers`` deletes."""
    folder = RunFolder(tmp_path)
    with pytest.raises(FileNotFoundError), atomic_write(folder.best):
        folder.remove_leftovers()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("file", ["metrics.json", "config.yaml"])
@pytest.mark.parametrize("text", ["{", "[1]", "\0", "[" * 2000, "a: &x [1]\nb: *x"])
def test_damaged_run_folders_are_named(file, text, trained, tiny_text, tmp_path):
    def change(content):
        (tmp_path / "run" / file).write_text(text)
        return content

    with pytest.raises(ValueError, match=f"{file} is damaged") as caught:
        resume(trained, tiny_text, tmp_path, change)
    assert "\n" not in str(caught.value)


def test_reports_do_not_read_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("LIGHTRNN_SECRET", "secret")
    run = make_run(tmp_path / "run", name="${oc.env:LIGHTRNN_SECRET}", data__name="${oc.env:LIGHTRNN_SECRET}")
    metrics = json.loads((run / "metrics.json").read_text())
    del metrics["name"]
    (run / "metrics.json").write_text(json.dumps(metrics))
    assert "secret" not in str(read_run(run))


def test_reports_do_not_expand_aliases(tmp_path):
    run = make_run(tmp_path / "run")
    lines = ["a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    (run / "config.yaml").write_text("\n".join(lines))
    assert read_run(run).status == "unreadable" and "aliases" in read_run(run).error


def test_readers_of_datasets_that_run_code_are_refused():
    for name in ("pandas", "webdataset", "arrow"):
        with pytest.raises(ValueError, match=f"data.id={name} must be the name of a dataset or one of parquet, json"):
            HubCorpus(name, data_files={"train": "a"}).check()


@pytest.fixture(scope="module")
def onnx_export(tmp_path_factory):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from lightrnn_pl.export.onnx_writer import write_onnx
    from tests.export.bundles import bundle_of

    folder = tmp_path_factory.mktemp("onnx")
    write_onnx(bundle_of("lightrnn"), folder, 2**20)
    return folder


def test_damaged_onnx_exports_are_refused(onnx_export, tmp_path, monkeypatch, capsys):
    generator = np.random.default_rng(0)
    whole = json.loads((onnx_export / "metadata.json").read_text())
    expected = OnnxModel(onnx_export).score("the été w3")
    folder = tmp_path / "copy"
    shutil.copytree(onnx_export, folder)
    refused = 0
    changes = [mutate(whole, generator) for _ in range(40)]
    changes += [{**whole, "vocabulary": "../../etc/passwd"}, {**whole, "sides": [10**9, 10**9]}, [], {}]
    for metadata in changes:
        (folder / "metadata.json").write_text(json.dumps(metadata, default=str))
        with no_code_runs():
            try:
                assert OnnxModel(folder).score("the été w3") == expected
            except ValueError as error:
                assert "is damaged or was not written by lightrnn-export" in str(error) and "\n" not in str(error)
                refused += 1
    assert refused > 10
    monkeypatch.setattr("sys.argv", ["client.py", str(folder)])
    with pytest.raises(SystemExit):
        client_main()
    assert "is damaged" in capsys.readouterr().err
