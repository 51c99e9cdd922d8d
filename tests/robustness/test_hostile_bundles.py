"""Bundles and exported folders that try to run code, to use all resources, or to give wrong results."""

import copy
import shutil
import time
import zipfile
from collections import OrderedDict

import pytest
import torch

from lightrnn_pl import load
from lightrnn_pl.evaluation.text_data import datamodule_for_text, own_datamodule
from lightrnn_pl.export.bundle_writer import write_bundle
from tests.export.bundles import MODELS, bundle_of
from tests.robustness.canary import no_code_runs
from tests.robustness.forged_bundles import content_of, forge, forge_folder, with_fingerprints

COMMAND = "touch canary"
SYSTEM = {"class_path": "os.system", "init_args": {"command": COMMAND}}
POPEN = {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", "canary"]}}

CODE = {
    "os.system": {"_target_": "os.system", "command": COMMAND},
    "subprocess": {"_target_": "subprocess.Popen", "args": ["touch", "canary"]},
    "eval": {"_target_": "builtins.eval", "_args_": ["open('canary', 'w')"]},
    "exec": {"_target_": "builtins.exec", "_args_": ["open('canary', 'w')"]},
    "copy": {"_target_": "shutil.copy", "src": "/etc/hostname", "dst": "canary"},
    "write_text": {"_target_": "pathlib.Path.write_text", "_args_": ["canary", "text"]},
    "torch.load": {"_target_": "torch.load", "f": "pickle.pt", "weights_only": False},
    "numpy.load": {"_target_": "numpy.load", "file": "pickle.npy", "allow_pickle": True},
    "torch.hub": {"_target_": "torch.hub.load", "repo_or_dir": "user/repository", "model": "model"},
    "lightning instantiate_class": {"_target_": "pytorch_lightning.cli.instantiate_class", "args": [], "init": SYSTEM},
    "lightning popen": {"_target_": "pytorch_lightning.cli.instantiate_class", "args": [], "init": POPEN},
    "lightning module checkpoint": {
        "_target_": "pytorch_lightning.LightningModule.load_from_checkpoint",
        "checkpoint_path": "pickle.pt",
    },
    "lightning data checkpoint": {
        "_target_": "pytorch_lightning.LightningDataModule.load_from_checkpoint",
        "checkpoint_path": "pickle.pt",
    },
    "lightning saving": {
        "_target_": "pytorch_lightning.core.saving._load_from_checkpoint",
        "checkpoint_path": "pickle.pt",
    },
    "own file function": {"_target_": "lightrnn_pl.files.write_json", "path": "canary", "content": {}},
    "own atomic write": {"_target_": "lightrnn_pl.files.atomic_write", "path": "canary"},
    "own load": {"_target_": "lightrnn_pl.checkpoint.load", "path": "other.ckpt"},
    "own instantiate": {"_target_": "lightrnn_pl.building.instantiate", "config": {"_target_": "os.system"}},
    "through a module": {"_target_": "lightrnn_pl.files.os.system", "command": COMMAND},
    "through a class": {"_target_": "lightrnn_pl.nn.cores.LSTMCore.__init__.__globals__"},
    "base class of torch": {"_target_": "torch.nn.Linear", "in_features": 1, "out_features": 1},
    "optimizer": {"_target_": "torch.optim.SGD", "params": [], "lr": 1.0},
    "abstract class": {"_target_": "lightrnn_pl.nn.outputs.base.Output"},
    "unknown module": {"_target_": "attack_module.Core"},
    "module of the package": {"_target_": "lightrnn_pl.attack_module.Core"},
    "positional arguments": {"_target_": "lightrnn_pl.nn.cores.LSTMCore", "_args_": [1, 2]},
    "target of another type": {"_target_": ["os.system"]},
    "no target": {},
    "not a mapping": "os.system",
}
"""Values of parts of the configuration that must not be built."""

PLACES = {
    "embedding": lambda config, node: config["model"].update(embedding=node),
    "core": lambda config, node: config["model"].update(core=node),
    "output": lambda config, node: config["model"].update(output=node),
    "loss": lambda config, node: config["model"].update(loss=node),
    "map": lambda config, node: config["model"]["embedding"].update(map=node),
    "argument": lambda config, node: config["model"]["core"].update(num_layers=node),
    "interpolation": lambda config, node: (
        config.update(hidden=node),
        config["model"].update(core="${hidden}"),
    ),
    "interpolation in an argument": lambda config, node: (
        config.update(hidden=node),
        config["model"]["embedding"].update(map="${hidden}"),
    ),
}
"""How the value gets into the configuration of a model with slim layers."""


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(path, match=None):
    """Load a file, which must be refused in one line, without running code."""
    with no_code_runs(path.parent / "canary"), pytest.raises((ValueError, FileNotFoundError), match=match) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 1000, message
    assert "weights_only=False" not in message
    return message


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", CODE)
def test_runs_no_code_from_the_configuration(name, place, tmp_path):
    node = copy.deepcopy(CODE[name])
    refused(forge(bundle_of("slim"), tmp_path / "best.ckpt", lambda content: PLACES[place](content["config"], node)))


@pytest.mark.parametrize("name", CODE)
def test_runs_no_code_from_an_exported_folder(name, tmp_path):
    pytest.importorskip("safetensors")
    write_bundle(bundle_of("slim"), tmp_path)
    refused(forge_folder(tmp_path, lambda content: PLACES["core"](content["config"], copy.deepcopy(CODE[name]))))


@pytest.mark.parametrize(
    "resolver", ["oc.env:HOME", "oc.decode:'[1]'", "oc.create:{}", "hydra:runtime.cwd", "model.tied"]
)
def test_refuses_interpolations(resolver, tmp_path):
    def change(content):
        content["config"]["model"]["tied"] = f"${{{resolver}}}"

    refused(forge(bundle_of("slim"), tmp_path / "best.ckpt", change))


class Exploit:
    """An object whose pickle runs a command."""

    def __reduce__(self):
        import os

        return os.system, (COMMAND,)


@pytest.mark.parametrize("part", ["state", "config", "metrics", "protocol", "vocabulary", "extra"])
def test_runs_no_code_from_pickled_objects(part, tmp_path):
    content = content_of(bundle_of("slim"))
    if part == "extra":
        content["extra"] = Exploit()
    else:
        content[part]["exploit"] = Exploit()
    torch.save(content, tmp_path / "best.ckpt")
    refused(tmp_path / "best.ckpt", "contains objects other than tensors and plain values")


def test_refuses_a_plain_pickle(tmp_path):
    import pickle

    path = tmp_path / "best.ckpt"
    path.write_bytes(pickle.dumps(Exploit()))
    refused(path, "damaged or not a checkpoint")
    torch.save(Exploit(), path, _use_new_zipfile_serialization=False)
    refused(path, "damaged or not a checkpoint")


CORPORA = {
    **{name: CODE[name] for name in ("os.system", "lightning instantiate_class", "lightning data checkpoint")},
    "other method": {"_target_": "lightrnn_pl.data.datamodule.CorpusDataModule.load_from_checkpoint"},
    "inherited method": {"_target_": "lightrnn_pl.data.datamodule.CorpusDataModule.from_datasets"},
    "nested": {
        "_target_": "lightrnn_pl.data.datamodule.CorpusDataModule.from_text",
        "train": "a.txt",
        "vocabulary": CODE["lightning instantiate_class"],
    },
}


@pytest.mark.parametrize("name", CORPORA)
def test_runs_no_code_from_the_corpus_of_a_bundle(name, tmp_path):
    path = forge(
        bundle_of("slim"), tmp_path / "best.ckpt", lambda content: content["config"].update(data=CORPORA[name])
    )
    bundle = load(path)
    with no_code_runs(tmp_path / "canary"), pytest.raises(ValueError, match=r"^data"):
        own_datamodule(bundle)


def test_runs_no_code_from_reading_options(tmp_path):
    def change(content):
        content["config"]["data"] = {"batching": CODE["os.system"], "sequence_length": 5, "eval_batch_size": 2}

    bundle = load(forge(bundle_of("slim"), tmp_path / "best.ckpt", change))
    with no_code_runs(tmp_path / "canary"), pytest.raises(ValueError, match=r"data\.batching"):
        datamodule_for_text(bundle, "text.txt")


def test_reads_no_file_named_by_a_bundle(tmp_path):
    """Classes and clusters that came from files are stored with the weights."""
    (tmp_path / "table.tsv").write_text("not a table")

    def change(content):
        path = str(tmp_path / "table.tsv")
        content["config"]["model"]["output"]["classes"] = {
            "_target_": "lightrnn_pl.nn.outputs.classes.ClassesFromFile",
            "path": path,
        }

    bundle = bundle_of("hierarchical")
    loaded = load(forge(bundle, tmp_path / "best.ckpt", change))
    assert loaded.score(["the été w3"]) == bundle.score(["the été w3"])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["lightrnn", "slim", "hashed", "adaptive"])
def test_refuses_weights_that_are_not_finite(name, value, tmp_path):
    def change(content):
        weights = next(tensor for key, tensor in content["state"].items() if key.startswith("core."))
        weights.flatten()[3] = value

    refused(forge(bundle_of(name), tmp_path / "best.ckpt", change), "contains NaN or infinite weights")


@pytest.mark.parametrize("name", MODELS)
def test_tied_must_agree_with_the_weights(name, tmp_path):
    bundle = bundle_of(name)

    def change(content):
        content["config"]["model"]["tied"] = not content["config"]["model"]["tied"]

    path = forge(bundle, tmp_path / "best.ckpt", change)
    # Adaptive vectors of the input are stored by row only if they are tied, so the untied model is a different one.
    if bundle.config.model.tied and name != "row word with adaptive vectors":
        assert load(path).score(["the été w3"]) == bundle.score(["the été w3"])
    else:
        refused(path, "cannot be loaded: the configuration does not describe the stored model")


SIZES = {
    "layers": ("core", "num_layers", 10**6),
    "hidden size": ("core", "hidden_dim", 10**9),
    "negative size": ("core", "hidden_dim", -5),
    "huge number": ("core", "hidden_dim", 10**30),
    "embedding size": ("embedding", "embedding_dim", 10**9),
    "parts": ("embedding", "num_parts", 10**9),
    "sub-vectors": ("embedding", "num_subvectors", 10**12),
    "dropout": ("core", "dropout", float("nan")),
    "flag": ("embedding", "disjoint", 1),
    "text": ("core", "hidden_dim", "12"),
    "list": ("core", "hidden_dim", [12]),
    "fraction": ("core", "hidden_dim", 12.0),
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_must_agree_with_the_weights(name, tmp_path):
    part, key, value = SIZES[name]
    path = forge(
        bundle_of("slim"), tmp_path / "best.ckpt", lambda content: content["config"]["model"][part].update({key: value})
    )
    started = time.process_time()
    refused(path)
    # Without the check of sizes, a million layers take minutes; this is a bound on work, not a measurement of speed.
    assert time.process_time() - started < 20


def test_sizes_of_characters_must_agree_with_the_weights(tmp_path):
    def change(content):
        content["config"]["model"]["embedding"]["widths"] = [1, 2, 3, 4, 5, 10**9]

    refused(forge(bundle_of("hybrid from characters"), tmp_path / "best.ckpt", change), "at most 1000 characters")


@pytest.mark.parametrize("sides", [[10**9, 10**9], [2**31 - 1], [8, 8, 8], [0, 64], [-8, 8], [], [8.0, 8], "ab", None])
def test_sides_must_be_plausible(sides, tmp_path):
    refused(forge(bundle_of("lightrnn"), tmp_path / "best.ckpt", lambda content: content.update(sides=sides)))


def _expanded(content):
    content["state"]["core.layers.bias_ih_l0"] = torch.zeros(1).expand(10**12)


def _many_views(content):
    weights = torch.zeros(10**5)
    content["state"].update({f"view{number}": weights for number in range(100)})


def _recursive(content):
    content["config"]["model"]["core"]["self"] = content["config"]


def _deep(content):
    node = content["config"]
    for _ in range(400):
        node["deeper"] = {}
        node = node["deeper"]


def _laughs(content):
    node = ["ha"] * 10
    for _ in range(20):
        node = [node] * 10
    content["config"]["laughs"] = node
    del content["settings"]  # optional, and impossible to compute


TENSORS = {
    "expanded": _expanded,
    "many views": _many_views,
    "sparse": lambda content: content["state"].update(extra=torch.eye(3).to_sparse()),
    "on the meta device": lambda content: content["state"].update(extra=torch.zeros(10**12, device="meta")),
    "complex": lambda content: content["state"].update(extra=torch.zeros(3, dtype=torch.complex64)),
    "a number": lambda content: content["state"].update(extra=torch.tensor(1.0)),
    "parameter": lambda content: content["state"].update(extra=torch.nn.Parameter(torch.zeros(3))),
    "additional": lambda content: content["state"].update(extra=torch.zeros(3)),
    "missing": lambda content: content["state"].pop("core.layers.bias_ih_l0"),
    "no codes": lambda content: content["state"].pop("embedding.allocation.codes"),
    "codes of fractions": lambda content: content["state"].update(
        {"embedding.allocation.codes": content["state"]["embedding.allocation.codes"].float()}
    ),
    "other codes at the output": lambda content: content["state"].update(
        {"output.allocation.codes": content["state"]["output.allocation.codes"].flip(0)}
    ),
    "another shape": lambda content: content["state"].update({"core.layers.bias_ih_l0": torch.zeros(7)}),
    "recursive configuration": _recursive,
    "deep configuration": _deep,
    "billion laughs": _laughs,
}


@pytest.mark.parametrize("name", TENSORS)
def test_refuses_implausible_content(name, tmp_path):
    refused(forge(bundle_of("lightrnn"), tmp_path / "best.ckpt", TENSORS[name]))


@pytest.mark.parametrize("value", [-1, 10**4])
@pytest.mark.parametrize(
    ("name", "tensor"),
    [("slim", "embedding.map.numbers"), ("slim", "output.map.numbers"), ("hierarchical", "output.word_classes")],
)
def test_refuses_indices_out_of_range(name, tensor, value, tmp_path):
    def change(content):
        numbers = content["state"][tensor] = content["state"][tensor].to(torch.int32)
        numbers.flatten()[0] = value

    refused(forge(bundle_of(name), tmp_path / "best.ckpt", change))


def test_refuses_compressed_parts(tmp_path):
    forge(bundle_of("lightrnn"), tmp_path / "plain.ckpt", lambda content: None)
    with (
        zipfile.ZipFile(tmp_path / "plain.ckpt") as source,
        zipfile.ZipFile(tmp_path / "best.ckpt", "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    refused(tmp_path / "best.ckpt", "compressed")


@pytest.mark.parametrize("word", ["", "a b", "a\n", "the", 5, None, b"the", ["the"]])
def test_refuses_invalid_words(word, tmp_path):
    refused(
        forge(bundle_of("lightrnn"), tmp_path / "best.ckpt", lambda c: c["vocabulary"]["words"].__setitem__(9, word))
    )


@pytest.mark.parametrize("count", [-1, 2**63, 10**40, 1.5, "5", None, True])
def test_refuses_invalid_counts(count, tmp_path):
    refused(
        forge(bundle_of("lightrnn"), tmp_path / "best.ckpt", lambda c: c["vocabulary"]["counts"].__setitem__(9, count))
    )


@pytest.mark.parametrize(
    "key", ["state", "weights", "sides", "table", "vocabulary", "words", "config", "protocol", "metrics"]
)
@pytest.mark.parametrize("value", ["missing", None, 5, "text", [], {}, OrderedDict(), torch.zeros(2)])
def test_refuses_parts_of_another_type(key, value, tmp_path):
    content = content_of(bundle_of("lightrnn"))
    if isinstance(value, str) and value == "missing":
        del content[key]
    else:
        content[key] = value
    path = tmp_path / "best.ckpt"
    torch.save(content, path)
    if key in ("protocol", "metrics") and isinstance(value, dict):
        load(path)  # nothing is computed from them
    else:
        refused(path)


def test_the_user_can_trust_a_package(tmp_path, monkeypatch):
    (tmp_path / "attack_cores.py").write_text(
        "from lightrnn_pl.nn.cores import LSTMCore\nfrom os import system\nclass MyCore(LSTMCore): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    bundle = bundle_of("lightrnn")

    def forged(name):
        return forge(
            bundle, tmp_path / "best.ckpt", lambda content: content["config"]["model"]["core"].update(_target_=name)
        )

    refused(forged("attack_cores.MyCore"), "LIGHTRNN_TRUSTED_PACKAGES")
    monkeypatch.setenv("LIGHTRNN_TRUSTED_PACKAGES", "attack_cores")
    assert load(forged("attack_cores.MyCore")).score(["the été"]) == bundle.score(["the été"])
    for name in ("attack_cores.system", "attack_cores.missing", "attack_cores.missing.Core"):
        refused(forged(name))


def test_forging_without_a_change_gives_a_valid_bundle(tmp_path):
    """Otherwise, the attacks above would be refused for another reason."""
    for name in MODELS:
        bundle = bundle_of(name)
        loaded = load(forge(bundle, tmp_path / "best.ckpt", lambda content: None))
        assert loaded.score(["the été w3"]) == bundle.score(["the été w3"])
        content = content_of(bundle)
        assert with_fingerprints(copy.deepcopy(content))["settings"] == content["settings"]
    folder = tmp_path / "folder"
    folder.mkdir()
    write_bundle(bundle_of("slim"), folder)
    assert load(forge_folder(folder, lambda content: None)).score(["the"]) == bundle_of("slim").score(["the"])
    shutil.rmtree(folder)
