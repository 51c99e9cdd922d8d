"""The exported model folder: ``load`` restores it exactly and rejects inconsistent or damaged parts."""

import dataclasses
import json

import pytest
import torch
from safetensors import torch as safetensors

from lightrnn_pl import load
from lightrnn_pl.export.bundle_writer import write_bundle
from lightrnn_pl.export.checks import require_same_bundle
from tests.export.bundles import MODELS, bundle_of


@pytest.mark.parametrize("name", MODELS)
def test_restores_every_model_exactly(name, tmp_path):
    bundle = bundle_of(name)
    loaded, change = write_bundle(bundle, tmp_path)
    assert change == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors", "vocabulary.txt"]
    assert loaded.score(["the été w3", ""]) == bundle.score(["the été w3", ""])
    assert (loaded.config, loaded.protocol, loaded.metrics) == (bundle.config, bundle.protocol, bundle.metrics)
    assert loaded.model.embedding.allocation is loaded.model.output.allocation


@pytest.mark.parametrize("name", MODELS)
def test_restores_every_model_from_eight_bits(name, tmp_path):
    bundle = bundle_of(name)
    loaded, change = write_bundle(bundle, tmp_path, eight_bits=True)
    # Vectors, such as the biases of highway gates (-2), are stored in 16 bits.
    largest = max(float(weight.detach().abs().max()) for weight in bundle.model.parameters() if weight.dim() > 1)
    assert 0 < change <= largest / 254 * 1.01
    assert torch.equal(loaded.model.allocation.codes, bundle.model.allocation.codes)
    before, after = bundle.score(["the été w3 w40 w8"])[0], loaded.score(["the été w3 w40 w8"])[0]
    assert after != before and after == pytest.approx(before, abs=0.1)


def test_tied_vectors_are_stored_once_and_stay_tied(tmp_path):
    loaded, _ = write_bundle(bundle_of("full"), tmp_path)
    assert loaded.model.output.weight is loaded.model.embedding.vectors.weight
    stored = safetensors.load_file(tmp_path / "model.safetensors")
    assert ("output.weight" in stored) != ("embedding.vectors.weight" in stored)


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("model.safetensors", lambda content: content[: len(content) // 2], "is damaged"),
        ("model.safetensors", lambda content: content[:-20] + bytes([content[-20] ^ 16]) + content[-19:], "damaged"),
        ("config.json", lambda content: b"{}", r"config\.json is damaged or was not written by lightrnn_pl"),
        ("config.json", lambda content: content.replace(b'"version": 1', b'"version": 7'), "version 7"),
        ("config.json", lambda content: content.replace(b'"table": "', b'"table": "0'), "contains the allocation"),
        ("vocabulary.txt", lambda content: content.replace(b"w7\t", b"w0007\t"), "a different vocabulary"),
        ("vocabulary.txt", lambda content: b"w7\n", "not a lightrnn_pl vocabulary file"),
    ],
)
def test_rejects_inconsistent_or_damaged_parts(tmp_path, file, damage, message):
    write_bundle(bundle_of("lightrnn"), tmp_path)
    path = tmp_path / file
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=message):
        load(tmp_path)


def test_rejects_a_folder_without_vocabulary(tmp_path):
    write_bundle(bundle_of("lightrnn"), tmp_path)
    (tmp_path / "vocabulary.txt").unlink()
    with pytest.raises(ValueError, match=r"has no vocabulary\.txt"):
        load(tmp_path)


def test_config_has_the_keys_of_transformers(tmp_path):
    write_bundle(bundle_of("lightrnn"), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["model_type"], config["vocab_size"], config["eos_token_id"]) == ("lightrnn", 59, 1)


@pytest.mark.parametrize("part", ["model", "vocabulary", "metrics"])
def test_verification_detects_any_difference(part):
    one, other = bundle_of("lightrnn"), bundle_of("lightrnn with empty cells")
    require_same_bundle(one, one)
    changed = dataclasses.replace(one, **{part: getattr(other, part) if part == "model" else {"nll": 1}})
    if part == "vocabulary":
        words = list(one.vocabulary.words)
        changed = dataclasses.replace(one, vocabulary=type(one.vocabulary)(words, one.vocabulary.counts))
    with pytest.raises(ValueError, match="nothing was exported"):
        require_same_bundle(one, changed)
