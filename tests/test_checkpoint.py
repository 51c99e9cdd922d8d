"""The bundle: all parts are restored, and inconsistent or damaged files are rejected."""

import math
from dataclasses import replace

import pytest
import torch
from omegaconf import OmegaConf

import lightrnn_pl
from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.building import as_config, build_model
from lightrnn_pl.bundle_content import settings_fingerprint
from lightrnn_pl.checkpoint import Bundle, load
from lightrnn_pl.vocabulary import VocabularyRules
from tests.tiny_model import CONFIG


@pytest.fixture
def bundle() -> Bundle:
    torch.manual_seed(0)
    vocabulary = VocabularyRules().build({"the": 50, "cat": 7, "sat": 6, "on": 5, "mat": 4, "<eos>": 9})
    config = as_config(CONFIG)
    model = build_model(config, WordAllocation.random(len(vocabulary), (3, 3), seed=1), vocabulary).eval()
    return Bundle(model, vocabulary, config, {"end": "<eos>"}, {"valid_nll": 1.5})


def overwrite_parts(path, **parts):
    content = torch.load(path, weights_only=True)
    content.update(parts)
    torch.save(content, path)


def test_restores_all_parts(bundle, tmp_path):
    bundle.save(tmp_path / "best.ckpt")
    loaded = lightrnn_pl.load(tmp_path)
    assert loaded.vocabulary.words == bundle.vocabulary.words
    assert loaded.config == bundle.config
    assert loaded.protocol == bundle.protocol and loaded.metrics == bundle.metrics
    assert loaded.model.embedding.allocation is loaded.model.output.allocation
    assert not loaded.model.training
    assert loaded.score(["the cat sat"]) == bundle.score(["the cat sat"])


def test_scores_lines_in_order_with_the_end_marker_last(bundle):
    lines = ["the cat sat on the mat", "", "the", "a dog sat"]
    scores = bundle.score(lines, batch_size=2)
    assert [len(line) for line in scores] == [7, 1, 2, 4]
    for line, expected in zip(lines, scores, strict=True):
        assert bundle.score([line])[0] == pytest.approx(expected, abs=1e-5)
    # An unknown word is scored as the unknown word.
    assert bundle.score(["a dog sat"])[0] == pytest.approx(bundle.score(["<unk> <unk> sat"])[0], abs=1e-6)


def test_first_word_probabilities_sum_to_one(bundle):
    """The probabilities of all first words of a line, including the end marker, sum to one."""
    words = [word for word in bundle.vocabulary.words if word != "<eos>"]
    first = [bundle.score([word])[0][0] for word in words] + [bundle.score([""])[0][0]]
    assert sum(math.exp(score) for score in first) == pytest.approx(1, abs=1e-5)


def test_rejects_a_string_instead_of_a_list_of_lines(bundle):
    with pytest.raises(ValueError, match="got a single string"):
        bundle.score("the cat")


def test_rejects_a_different_allocation(bundle, tmp_path):
    path = tmp_path / "best.ckpt"
    bundle.save(path)
    state = torch.load(path, weights_only=True)["state"]
    other = WordAllocation.random(len(bundle.vocabulary), (3, 3), seed=2).codes
    state["embedding.allocation.codes"] = state["output.allocation.codes"] = other
    overwrite_parts(path, state=state)
    with pytest.raises(ValueError, match=r"contains the allocation .* but its weights were trained with"):
        load(path)


def test_rejects_a_different_vocabulary(bundle, tmp_path):
    path = tmp_path / "best.ckpt"
    bundle.save(path)
    other = VocabularyRules().build({"dogs": 50, "cat": 7, "sat": 6, "on": 5, "mat": 4, "<eos>": 9})
    overwrite_parts(path, vocabulary=other.state_dict())
    with pytest.raises(ValueError, match="contains a different vocabulary"):
        load(path)


def test_rejects_missing_files_other_versions_and_other_formats(bundle, tmp_path):
    path = tmp_path / "best.ckpt"
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        load(path)
    (tmp_path / "row.onnx").touch()
    with pytest.raises(ValueError, match=r"is an ONNX or ExecuTorch export, which other programs read"):
        load(tmp_path)
    bundle.save(path)
    overwrite_parts(path, version=99)
    with pytest.raises(ValueError, match="version 99, but this release reads version 1"):
        load(path)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(ValueError, match="is not a lightrnn_pl bundle"):
        load(path)


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text"])
def test_rejects_a_damaged_file(bundle, tmp_path, damage):
    path = tmp_path / "best.ckpt"
    bundle.save(path)
    content = bytearray(path.read_bytes())
    if damage == "flip":
        weights = bundle.model.embedding.vectors.weight.detach().numpy().tobytes()
        content[content.find(weights[:16])] ^= 0x10
    path.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "text": b"hello"}.get(damage, content))
    with pytest.raises(ValueError, match=r"damaged"):
        load(path)


def test_rejects_a_different_configuration(bundle, tmp_path):
    path = tmp_path / "best.ckpt"
    bundle.save(path)
    config = torch.load(path, weights_only=True)["config"]
    config["model"]["output_dropout"] = 0.25
    overwrite_parts(path, config=config)
    with pytest.raises(ValueError, match="contains another configuration"):
        load(path)


def test_rejects_untrusted_targets(bundle, tmp_path):
    path = tmp_path / "best.ckpt"
    bundle.save(path)
    config = torch.load(path, weights_only=True)["config"]
    config["model"]["core"]["_target_"] = "os.system"
    overwrite_parts(path, config=config, settings=settings_fingerprint(config))
    message = r"best\.ckpt cannot be loaded: model\.core\._target_: os\.system is not defined in a trusted package"
    with pytest.raises(ValueError, match=message):
        load(path)


def test_failed_save_keeps_the_old_file(bundle, tmp_path, monkeypatch):
    path = tmp_path / "best.ckpt"
    bundle.save(path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match=r"no space left while writing .*best.ckpt"):
        bundle.save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["best.ckpt"]


def test_the_tokenizer_is_that_of_the_training_text_or_the_requested_one(bundle, tmp_path):
    path = tmp_path / "best.ckpt"
    bundle.save(path)
    assert load(path).tokenizer == "whitespace"
    config = {**OmegaConf.to_container(bundle.config), "data": {"tokenizer": "treebank", "name": "raw"}}
    replace(bundle, config=as_config(config)).save(path)
    assert load(path).tokenizer == "treebank" and load(path, tokenizer="ptb").tokenizer == "ptb"
    assert load(path).score(["the cat, sat"])[0] == pytest.approx(bundle.score(["the cat , sat"])[0], abs=1e-6)
    with pytest.raises(ValueError, match=r"^tokenizer must be whitespace, treebank or ptb, got 'bpe'$"):
        load(path, tokenizer="bpe")
    config["data"]["tokenizer"] = "bpe"
    replace(bundle, config=as_config(config)).save(path)
    with pytest.raises(ValueError, match=r"data\.tokenizer: Input should be 'whitespace', 'treebank' or 'ptb'"):
        load(path)
