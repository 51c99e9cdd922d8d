"""The exported model folder: ``load`` restores it exactly and rejects inconsistent or damaged parts."""

import dataclasses
import gzip
import json

import pytest
import torch
from safetensors import torch as safetensors

from lightrnn_pl import load
from lightrnn_pl.export.bundle_writer import write_bundle
from lightrnn_pl.export.checks import require_same_bundle
from lightrnn_pl.vocabulary import VocabularyRules
from tests.export.bundles import MODELS, bundle_of

WORDS = "vocabulary.txt.gz"


@pytest.mark.parametrize("name", MODELS)
def test_restores_every_model_exactly(name, tmp_path):
    bundle = bundle_of(name)
    loaded, change = write_bundle(bundle, tmp_path)
    assert change == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors", WORDS]
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
        ("config.json", lambda content: content.replace(b'"version": 2', b'"version": 7'), "version 7"),
        ("config.json", lambda content: content.replace(b'"table": "', b'"table": "0'), "contains the allocation"),
        (WORDS, lambda content: _changed(content, b"w7\t", b"w0007\t"), "a different vocabulary"),
        (WORDS, lambda content: gzip.compress(b"w7\n"), "not a lightrnn_pl vocabulary file"),
        (WORDS, lambda content: b"w7\n", "its compressed content is damaged: Not a gzipped file"),
        (WORDS, lambda content: content[:-9], "its compressed content is damaged"),
        (WORDS, lambda content: content[:40] + bytes([content[40] ^ 16]) + content[41:], "content is damaged"),
        (WORDS, lambda content: gzip.compress(bytes(10**6)), "more than 100 times as large as the file"),
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
    (tmp_path / WORDS).unlink()
    with pytest.raises(ValueError, match=r"has no vocabulary\.txt\.gz"):
        load(tmp_path)


def test_reads_folders_of_version_1(tmp_path):
    """Earlier releases did not compress the words."""
    write_bundle(bundle_of("lightrnn"), tmp_path)
    (tmp_path / "vocabulary.txt").write_bytes(gzip.decompress((tmp_path / WORDS).read_bytes()))
    (tmp_path / WORDS).unlink()
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"version": 2', '"version": 1'))
    assert load(tmp_path).score(["the w3"]) == bundle_of("lightrnn").score(["the w3"])


def test_the_compressed_words_are_those_of_the_text_file(tmp_path):
    vocabulary = bundle_of("lightrnn").vocabulary
    for name in ("a.txt", "a.txt.gz", "b.txt.gz"):
        vocabulary.save(tmp_path / name)
    assert gzip.decompress((tmp_path / "a.txt.gz").read_bytes()) == (tmp_path / "a.txt").read_bytes()
    assert (tmp_path / "a.txt.gz").read_bytes() == (tmp_path / "b.txt.gz").read_bytes()
    rules = [VocabularyRules(file=str(tmp_path / name), end="<eos>") for name in ("a.txt", "a.txt.gz")]
    assert rules[0].build({}).words == rules[1].build({}).words


def _changed(content, old, new):
    return gzip.compress(gzip.decompress(content).replace(old, new))


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
