"""The language models for sherpa-onnx, compared with the scores of the model, and run by sherpa-onnx if installed."""

import copy
import importlib.util
import json

import numpy as np
import pytest

from lightrnn_pl.export.acoustic_tokens import read_tokens, vocabulary_tokens, words_of_tokens
from lightrnn_pl.export.sherpa_onnx_writer import compare_sentences, write_sherpa_onnx
from lightrnn_pl.vocabulary import Vocabulary
from tests.cases import every
from tests.export.bundles import MODELS, bundle_of
from tests.export.transducers import decode, write_transducer

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

LINES = ["the été w3 w40 w8 w8 w11", "", "w52 \" <unk> l'eau", "w7"]
SUPPORTED = [name for name in MODELS if name != "minimal GRU"]


def tokens_of(bundle, line):
    return [int(word) + 1 for word in bundle.vocabulary.encode(line.split())]


@pytest.mark.parametrize("name", every(2, SUPPORTED))
def test_scores_of_sentences_equal_those_of_the_model(name, tmp_path):
    bundle = bundle_of(name)
    mapped = write_sherpa_onnx(bundle, tmp_path)
    expected = bundle.score(LINES)
    offline, online = (onnxruntime.InferenceSession(str(tmp_path / f"{form}.onnx")) for form in ("offline", "online"))
    sentences = [tokens_of(bundle, line) for line in LINES]
    lengths = np.array([len(sentence) for sentence in sentences])
    x = np.full((len(LINES), lengths.max() + 2), 9)  # what follows a sentence does not matter
    for row, sentence in zip(x, sentences, strict=True):
        row[: len(sentence)] = sentence
    (nll,) = offline.run(None, {"x": x, "x_lens": lengths})
    assert nll.dtype == np.float32
    np.testing.assert_allclose(nll, [-sum(scores) for scores in expected], atol=1e-4)
    (nll,) = offline.run(None, {"x": x[1:2, :0], "x_lens": lengths[1:2]})
    assert nll == pytest.approx([-sum(expected[1])], abs=1e-4)

    properties = online.get_modelmeta().custom_metadata_map
    start = int(properties["sos_id"])
    shape = int(properties["num_layers"]), 1, int(properties["hidden_size"])
    end = int(bundle.vocabulary.end_id) + 1
    h = c = np.zeros(shape, dtype=np.float32)
    for sentence, scores in zip(sentences, expected, strict=True):  # the start resets the state of the last sentence
        for read, token, score in zip([start, *sentence], [*sentence, end], scores, strict=True):
            log_probabilities, h, c = online.run(None, {"x": np.array([[read]]), "h": h, "c": c})
            assert log_probabilities[0, 0, token] == pytest.approx(score, abs=1e-5)
        assert np.exp(log_probabilities[0, 0, 1:]).sum() == pytest.approx(1, abs=1e-5)
    difference = compare_sentences(bundle, tmp_path, mapped, range(len(bundle.vocabulary)))
    assert max(difference[:2]) < 1e-4 and difference.sentences == 4


def test_a_core_without_an_operation_for_all_steps_is_refused(tmp_path):
    with pytest.raises(ValueError, match="does not exist for MinGRUCore; use a model with model/core=lstm, gru or rnn"):
        write_sherpa_onnx(bundle_of("minimal GRU"), tmp_path)


def test_differences_are_detected(tmp_path):
    bundle = copy.deepcopy(bundle_of("lightrnn"))
    mapped = write_sherpa_onnx(bundle, tmp_path)
    bundle.model.output.bias.data[0] += 0.5
    assert min(compare_sentences(bundle, tmp_path, mapped, range(59))[:2]) > 1e-2


def test_tokens_of_an_acoustic_model_stand_for_words(tmp_path):
    bundle = bundle_of("lightrnn")
    path = tmp_path / "symbols.txt"
    path.write_text("<blk> 0\nw3 3\n\u2581the 1\nHE 2\n4\n", encoding="utf-8")
    mapped = write_sherpa_onnx(bundle, tmp_path, str(path))
    assert read_tokens(tmp_path / "tokens.txt") == ["<blk>", "\u2581the", "HE", "w3", " "]
    unknown = bundle.vocabulary.id("<unk>")
    words = [bundle.vocabulary.id("<eos>"), bundle.vocabulary.id("the"), unknown, bundle.vocabulary.id("w3"), unknown]
    assert mapped.words.tolist() == words
    assert mapped.known.tolist() == [False, True, False, True, False]
    offline = onnxruntime.InferenceSession(str(tmp_path / "offline.onnx"))
    (nll,) = offline.run(None, {"x": np.array([[1, 2, 3]]), "x_lens": np.array([3])})
    assert nll == pytest.approx([-sum(bundle.score(["the never-seen w3"])[0])], abs=1e-4)
    # Only the words that have a token are compared.
    assert max(compare_sentences(bundle, tmp_path, mapped, range(59))[:2]) < 1e-4


def test_subword_units_are_kept_as_they_are():
    vocabulary = Vocabulary(["\u2581he", "llo", "<eos>"], [3, 2, 1], end="<eos>")
    assert vocabulary_tokens(vocabulary) == ["<blk>", "\u2581he", "llo", "<eos>"]
    assert words_of_tokens(["<blk>", "llo", "\u2581he"], vocabulary).words.tolist() == [2, 1, 0]
    with pytest.raises(ValueError, match="'he' is not in the vocabulary, which has no unknown word"):
        words_of_tokens(["<blk>", "llo", "he"], vocabulary)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<blk> 0\na b 1\n", "line 2: expected a symbol and an id, found 'a b 1'"),
        ("<blk> 0\na\n", "line 2: expected a symbol and an id"),
        ("<blk> 0\nthe 2\n", "without gaps, but 1 is missing"),
        ("", "without gaps, but 0 is missing"),
        ("<blk> 0\nHE 1\n", "none of the 2 tokens, such as 'HE', is in the vocabulary"),
    ],
)
def test_invalid_tokens_are_refused(text, message, tmp_path):
    path = tmp_path / "symbols.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        write_sherpa_onnx(bundle_of("lightrnn"), tmp_path, str(path))
    with pytest.raises(FileNotFoundError, match=r"nowhere is not a file; pass the tokens\.txt of the acoustic model"):
        write_sherpa_onnx(bundle_of("lightrnn"), tmp_path, "nowhere")


@pytest.mark.skipif(importlib.util.find_spec("sherpa_onnx") is None, reason="sherpa-onnx is not installed")
def test_sherpa_onnx_computes_the_scores_of_the_model(tmp_path):
    """Streaming recognizers report the scores.  An offline one changes its result at the weight that they imply."""
    requests, expected = [], []
    for name in ("lightrnn", "row word in two steps", "full", "one code"):
        bundle, folder = bundle_of(name), tmp_path / name
        folder.mkdir()
        num_tokens = len(write_sherpa_onnx(bundle, folder).words)
        first, *candidates = tokens_of(bundle, "l'eau w4 w9")
        scores = [bundle.score([f"l'eau {word}"])[0] for word in ("w4", "w9")]
        unlikely, likely = (np.argmin(totals := [sum(line) for line in scores]), np.argmax(totals))
        frames = np.full((3, num_tokens), -30.0)
        frames[[0, 1], [first, 0]] = 0.0
        frames[2, candidates[unlikely]], frames[2, candidates[likely]] = 1.0, 0.0
        weight = 1 / (totals[likely] - totals[unlikely])
        for kind, form in (("OfflineRecognizer", "offline"), ("OnlineRecognizer", "online")):
            (folder / form).mkdir()
            paths = write_transducer(folder / form, frames, streaming=form == "online")
            files = {**paths, "tokens": str(folder / "tokens.txt"), "lm": str(folder / f"{form}.onnx")}
            weights = (0.999 * weight, 1.001 * weight) if form == "offline" else (1e-4,)
            requests += [{"kind": kind, **files, "lm_scale": scale} for scale in weights]
        words = [" w4", " w9"]
        expected += [{"tokens": [" l'eau", words[chosen]]} for chosen in (unlikely, likely)]
        expected.append({"tokens": [" l'eau", words[unlikely]], "lm": pytest.approx(scores[unlikely][:2], abs=1e-4)})
    assert decode(requests) == expected


def test_metadata_is_written_for_the_loader(tmp_path):
    bundle = bundle_of("row word in two steps")
    write_sherpa_onnx(bundle, tmp_path)
    properties = json.loads((tmp_path / "metadata.json").read_text())["properties"]
    assert {key: properties[key] for key in ("num_layers", "hidden_size", "sos_id", "vocab_size")} == {
        "num_layers": "1",
        "hidden_size": "12",
        "sos_id": "60",
        "vocab_size": "60",
    }
    inputs = {"offline": ["x", "x_lens"], "online": ["x", "h", "c"]}
    for form, names in inputs.items():
        onnx.checker.check_model(str(tmp_path / f"{form}.onnx"))
        graph = onnx.load(str(tmp_path / f"{form}.onnx"))
        assert {entry.key: entry.value for entry in graph.metadata_props} == properties
        assert [part.name for part in graph.graph.input] == names
