"""A transducer for sherpa-onnx that ignores its input: each frame has fixed scores of the tokens."""

import json
import subprocess
import sys

import torch

from lightrnn_pl.export.onnx_writer import import_onnx, trace_graph

SECONDS = 2.0
_CHUNK = 40
"""Feature frames of a chunk of the streaming encoder."""


class OfflineEncoder(torch.nn.Module):
    def __init__(self, frames):
        super().__init__()
        self.frames = frames

    def forward(self, x, x_lens):
        return self.frames[None] + 0.0 * x.sum(), torch.full_like(x_lens, len(self.frames))


class StreamingEncoder(torch.nn.Module):
    """Blanks in all chunks but the first, which the state counts."""

    def __init__(self, frames):
        super().__init__()
        self.frames = frames
        self.blanks = torch.full_like(frames, -30.0)
        self.blanks[:, 0] = 0.0

    def forward(self, x, h, c):
        frames = torch.where(c.sum() > 0, self.blanks, self.frames)
        return frames[None] + 0.0 * x.sum(), h + 0.0, c + 1.0


class Decoder(torch.nn.Module):
    def __init__(self, num_tokens):
        super().__init__()
        self.num_tokens = num_tokens

    def forward(self, y):
        return torch.zeros(1, self.num_tokens) + 0.0 * y[:, :1]


class Joiner(torch.nn.Module):
    def forward(self, encoder_out, decoder_out):
        return encoder_out + decoder_out


def write_transducer(folder, frames, streaming):
    """Write encoder.onnx, decoder.onnx and joiner.onnx for logits (frames, tokens); returns the three paths."""
    onnx = import_onnx()
    frames = torch.as_tensor(frames, dtype=torch.float32)
    num_tokens = frames.shape[1]
    paths = {name: folder / f"{name}.onnx" for name in ("encoder", "decoder", "joiner")}
    batch = {0: "N"}
    x, state = torch.zeros(1, _CHUNK, 80), torch.zeros(1, 1, 1)
    if streaming:
        inputs, outputs = ["x", "h", "c"], ["encoder_out", "next_h", "next_c"]
        trace_graph(StreamingEncoder(frames), (x, state, state), paths["encoder"], inputs, outputs, {})
    else:
        axes = {"x": {0: "N", 1: "T"}, "x_lens": batch}
        outputs = ["encoder_out", "encoder_out_lens"]
        example = x, torch.tensor([_CHUNK])
        trace_graph(OfflineEncoder(frames), example, paths["encoder"], ["x", "x_lens"], outputs, axes)
    axes = {"y": batch, "decoder_out": batch}
    y = torch.zeros(2, 2, dtype=torch.int64)
    trace_graph(Decoder(num_tokens), (y,), paths["decoder"], ["y"], ["decoder_out"], axes)
    axes = dict.fromkeys(("encoder_out", "decoder_out", "logit"), batch)
    example = torch.zeros(2, num_tokens), torch.zeros(2, num_tokens)
    trace_graph(Joiner(), example, paths["joiner"], ["encoder_out", "decoder_out"], ["logit"], axes)
    properties = {
        "encoder": {"model_type": "lstm", "num_encoder_layers": "1", "T": str(_CHUNK), "decode_chunk_len": str(_CHUNK)}
        | {"rnn_hidden_size": "1", "d_model": "1"},
        "decoder": {"vocab_size": str(num_tokens), "context_size": "2"},
        "joiner": {"joiner_dim": str(num_tokens)},
    }
    for name, path in paths.items():
        graph = onnx.load(str(path))
        onnx.helper.set_model_props(graph, properties[name])
        onnx.save(graph, str(path))
    return {name: str(path) for name, path in paths.items()}


_SCRIPT = """
import json, sys
import numpy as np
import sherpa_onnx

results = []
for options in json.load(sys.stdin):
    kind, seconds = options.pop("kind"), options.pop("seconds")
    recognizer = getattr(sherpa_onnx, kind).from_transducer(**options)
    stream = recognizer.create_stream()
    stream.accept_waveform(16000, np.random.default_rng(0).normal(size=int(16000 * seconds)).astype(np.float32) / 99)
    if kind == "OfflineRecognizer":
        recognizer.decode_stream(stream)
        results.append({"tokens": list(stream.result.tokens)})
    else:
        stream.input_finished()
        while recognizer.is_ready(stream):
            recognizer.decode_stream(stream)
        result = recognizer.get_result_all(stream)
        results.append({"tokens": list(result.tokens), "lm": list(result.lm_probs)})
print(json.dumps(results))
"""


def decode(requests):
    """The tokens of each request (``kind`` and arguments of ``from_transducer``), and LM scores of streaming ones."""
    requests = [{"seconds": SECONDS, "decoding_method": "modified_beam_search", **request} for request in requests]
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        input=json.dumps(requests),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
