"""Writes a model as the language models that sherpa-onnx reads, and verifies them against the model.

``offline.onnx`` rescores the complete hypotheses of an offline transducer (``OfflineRecognizer``), and ``online.onnx``
is used for shallow fusion in a streaming one (``OnlineRecognizer``).  The names, types and shapes of inputs and outputs
and the metadata are those of csrc/offline-lm.h, csrc/offline-rnn-lm.cc and csrc/online-rnn-lm.cc of sherpa-onnx 1.13.4
(commit 634265c).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from lightrnn_pl.checkpoint import Bundle
from lightrnn_pl.export.acoustic_tokens import TokenWords, read_tokens, vocabulary_tokens, words_of_tokens
from lightrnn_pl.export.onnx_writer import OPSET, import_onnx, trace_graph
from lightrnn_pl.export.step_folder import METADATA
from lightrnn_pl.export.token_scorers import NextTokenScorer, SentenceScorer
from lightrnn_pl.files import file_hash, write_json
from lightrnn_pl.inference.scoring import score_lines

FORMAT = "lightrnn_pl sherpa_onnx"
VERSION = 1
OFFLINE, ONLINE, TOKENS = "offline.onnx", "online.onnx", "tokens.txt"
_MAX_LINE = 50
"""Words of a line of the check, so that different lengths occur."""

_BATCH = 4
"""Lines that are scored at a time, like the hypotheses of an utterance."""


def write_sherpa_onnx(bundle: Bundle, folder: Path, tokens: str | None = None, max_bytes: int = 2**30) -> TokenWords:
    """Write both graphs, the tokens and ``metadata.json`` into an existing folder.

    Args:
        bundle: The model, on the CPU.
        folder: The folder to write to.
        tokens: ``tokens.txt`` of the acoustic model; None for one token per word.
        max_bytes: Maximum size of a table that is written out for a layer that ONNX does not support.

    Returns:
        The word of each token.

    Raises:
        FileNotFoundError: If ``tokens`` does not exist.
        ValueError: If the tokens are invalid, the model is not supported, or onnx is not installed.
    """
    onnx = import_onnx()
    model, vocabulary = bundle.model, bundle.vocabulary
    symbols = vocabulary_tokens(vocabulary) if tokens is None else read_tokens(tokens)
    mapped = words_of_tokens(symbols, vocabulary)
    table = torch.from_numpy(np.append(mapped.words, vocabulary.context_id))
    state = torch.zeros(model.core.num_layers, 1, model.core.hidden_dim)
    trace_graph(
        SentenceScorer(model, table, max_bytes, vocabulary.end_id).eval(),
        (torch.zeros(2, 3, dtype=torch.int64), torch.tensor([3, 2])),
        folder / OFFLINE,
        ["x", "x_lens"],
        ["nll"],
        {"x": {0: "N", 1: "L"}, "x_lens": {0: "N"}, "nll": {0: "N"}},
    )
    trace_graph(
        NextTokenScorer(model, table, max_bytes).eval(),
        (torch.zeros(1, 1, dtype=torch.int64), state, state),
        folder / ONLINE,
        ["x", "h", "c"],
        ["score", "next_h", "next_c"],
        {"x": {0: "N"}, "score": {0: "N"}, **{name: {1: "N"} for name in ("h", "c", "next_h", "next_c")}},
    )
    properties = {
        "model_type": "rnnlm",
        "version": str(VERSION),
        "num_layers": str(model.core.num_layers),
        "hidden_size": str(model.core.hidden_dim),
        "vocab_size": str(len(symbols)),
        "sos_id": str(len(symbols)),
    }
    for name in (OFFLINE, ONLINE):
        graph = onnx.load(str(folder / name))
        onnx.helper.set_model_props(graph, properties)
        onnx.save(graph, str(folder / name))
    lines = "".join(f"{symbol.strip()} {number}\n" for number, symbol in enumerate(symbols))
    (folder / TOKENS).write_text(lines, encoding="utf-8")
    content = bundle.content()
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "opset": OPSET,
        "properties": properties,
        "context": vocabulary.words[vocabulary.context_id],
        "unknown": vocabulary.unknown,
        "end": vocabulary.end,
        "fingerprints": {name: content[name] for name in ("weights", "table", "words")},
        "sha256": {name: file_hash(folder / name) for name in (OFFLINE, ONLINE, TOKENS)},
        "metrics": bundle.metrics,
    }
    write_json(folder / METADATA, metadata)
    return mapped


class SentenceDifference(NamedTuple):
    """The largest differences from the scores of the model, in nats per sentence.

    Attributes:
        offline: Of the offline form.
        online: Of the online form, without the end marker, which it is not asked for.
        sentences: The number of sentences.
    """

    offline: float
    online: float
    sentences: int


def compare_sentences(bundle: Bundle, folder: Path, mapped: TokenWords, words: Sequence[int]) -> SentenceDifference:
    """Compare both graphs, run as sherpa-onnx runs them, with ``lightrnn-score``.

    Args:
        bundle: The model.
        folder: The exported folder.
        mapped: The word of each token.
        words: Ids of a text, which is divided into sentences at end markers.  Words without a token are omitted.
    """
    import onnxruntime

    offline, online = (onnxruntime.InferenceSession(str(folder / name)) for name in (OFFLINE, ONLINE))
    sentences = _sentences(bundle, mapped, words)
    lines = [" ".join(bundle.vocabulary.decode(mapped.words[sentence])) for sentence in sentences]
    expected = score_lines(bundle.model, bundle.vocabulary, lines)
    differences = [0.0], [0.0]
    for first in range(0, len(sentences), _BATCH):
        chosen = sentences[first : first + _BATCH]
        lengths = np.array([len(sentence) for sentence in chosen])
        x = np.zeros((len(chosen), lengths.max()), dtype=np.int64)
        for row, sentence in zip(x, chosen, strict=True):
            row[: len(sentence)] = sentence
        (nll,) = offline.run(None, {"x": x, "x_lens": lengths})
        differences[0].extend(np.abs(nll + [sum(scores) for scores in expected[first : first + _BATCH]]))
    zeros = np.zeros((bundle.model.core.num_layers, 1, bundle.model.core.hidden_dim), dtype=np.float32)
    for sentence, scores in zip(sentences, expected, strict=True):
        total, h, c = 0.0, zeros, zeros
        for read, token in zip([len(mapped.words), *sentence], sentence, strict=False):
            log_probabilities, h, c = online.run(None, {"x": np.array([[read]]), "h": h, "c": c})
            total += float(log_probabilities[0, 0, token])
        differences[1].append(abs(total - sum(scores[: len(sentence)])))
    return SentenceDifference(float(np.max(differences[0])), float(np.max(differences[1])), len(sentences))


def _sentences(bundle: Bundle, mapped: TokenWords, words: Sequence[int]) -> list[list[int]]:
    """The tokens of the sentences of a text, after an empty one."""
    token_of_word = {int(mapped.words[token]): int(token) for token in mapped.known.nonzero()[0]}
    sentences: list[list[int]] = [[], []]
    for word in words:
        if word == bundle.vocabulary.end_id or len(sentences[-1]) == _MAX_LINE:
            sentences.append([])
        if word != bundle.vocabulary.end_id and word in token_of_word:
            sentences[-1].append(token_of_word[word])
    return sentences
