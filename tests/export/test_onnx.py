"""ONNX graphs, run by the exported client, compared with the model in PyTorch."""

import copy
import io
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from lightrnn_pl.export import onnx_client
from lightrnn_pl.export.checks import compare_steps, steps_perplexity
from lightrnn_pl.export.onnx_client import OnnxModel
from lightrnn_pl.export.onnx_writer import write_onnx
from lightrnn_pl.nn.cores import Core, LSTMCore
from tests.cases import every
from tests.export.bundles import MODELS, bundle_of

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

LINES = ["the été w3 w40 w8 w8 w11", "", "w52 \" never-seen l'eau"]


@pytest.mark.parametrize("name", MODELS)
def test_scores_and_next_words_equal_those_of_pytorch(name, tmp_path):
    bundle = bundle_of(name)
    write_onnx(bundle, tmp_path)
    client = OnnxModel(tmp_path)
    for line, expected in zip(LINES, bundle.score(LINES), strict=True):
        assert client.score(line) == pytest.approx(expected, abs=1e-5)
        best, opened = client.next_words(line, 7, unknown=True)
        dense = bundle.decoder.log_probabilities(bundle.decoder.state_after([bundle.vocabulary.encode(line.split())]))[
            0
        ]
        values, words = dense.exp().topk(7)
        assert [word for word, _ in best] == bundle.vocabulary.decode(words.tolist())
        assert [value for _, value in best] == pytest.approx(values.tolist(), abs=1e-6)
        assert (opened > 0) == (len(client.sides) > 1)
    difference = compare_steps(bundle, client, range(len(bundle.vocabulary)))
    assert difference.text_words < 1e-5 and difference.all_codes < 1e-5 and abs(difference.perplexity) < 1e-5
    assert len(client.next_words("the", 1000, unknown=True)[0]) == len(bundle.vocabulary)


@pytest.mark.parametrize("name", ["lightrnn", "cube", "full"])
def test_completions_are_the_most_likely_words_with_the_letters(name, tmp_path):
    bundle = bundle_of(name)
    write_onnx(bundle, tmp_path)
    client = OnnxModel(tmp_path)
    everything = dict(client.next_words("the", 1000, unknown=True)[0])
    unknown = bundle.vocabulary.unknown
    assert everything[unknown] > 0
    for prefix in ("", "w1", "W5", "É", "nowhere"):
        expected = [
            (word, probability)
            for word, probability in sorted(everything.items(), key=lambda item: -item[1])
            if word.casefold().startswith(prefix.casefold()) and word != unknown
        ]
        for k in (2, 1000):
            assert client.next_words("the", k, prefix)[0] == expected[:k]
    assert [word for word, _ in client.next_words("the", 9, "<u", unknown=True)[0]] == [unknown]


@pytest.mark.parametrize("name", every(2, MODELS))
def test_eight_bits_change_little_and_lose_no_word(name, tmp_path):
    bundle = bundle_of(name)
    for bits in (8, 32):
        (tmp_path / str(bits)).mkdir()
        write_onnx(bundle, tmp_path / str(bits), eight_bits=bits == 8)
    client = OnnxModel(tmp_path / "8")
    difference = compare_steps(bundle, client, range(len(bundle.vocabulary)))
    assert 1e-5 < difference.all_codes < 0.5 and 0 < abs(difference.perplexity) < 0.1
    best, _ = client.next_words(LINES[0], 1000, unknown=True)
    assert len({word for word, _ in best}) == len(bundle.vocabulary)
    assert sum(probability for _, probability in best) == pytest.approx(1, abs=1e-5)
    graphs = [onnx.load(str(tmp_path / "8" / graph["file"])).graph for graph in client.metadata["graphs"]]
    operators = {node.op_type for graph in graphs for node in graph.node}
    assert ("DynamicQuantizeLSTM" in operators) == isinstance(bundle.model.core, LSTMCore)
    assert "MatMulInteger" in operators or "QLinearMatMul" in operators
    constants = [tensor for graph in graphs for tensor in graph.initializer]
    floats = [tensor for tensor in constants if tensor.data_type == onnx.TensorProto.FLOAT]
    matrices = [tensor.name for tensor in floats if sum(size > 1 for size in tensor.dims) > 1]
    assert all("Add" in name or name.endswith("_scale") for name in matrices), "only biases have 32 bits"
    tables = [tensor for tensor in constants if tensor.data_type in (onnx.TensorProto.INT32, onnx.TensorProto.INT64)]
    assert all(math.prod(tensor.dims) * 4 < 1024 for tensor in tables)
    assert client.metadata["weights"] == "8 bits"


def test_graphs_support_any_number_of_streams(tmp_path):
    bundle = bundle_of("lightrnn with empty cells")
    write_onnx(bundle, tmp_path)
    client = OnnxModel(tmp_path)
    words = np.array([3, 9, 9, 58, 0])
    scores, state = client.spell(client.start(5), words)
    expected, after = bundle.decoder.step(bundle.decoder.start(5), torch.from_numpy(words))
    np.testing.assert_allclose(scores, expected.numpy(), atol=1e-5)
    first = bundle.model.output.code_log_probabilities(0, after.hidden, torch.zeros(5, dtype=torch.int64))
    np.testing.assert_allclose(client.read(words, state).first, first.detach().numpy(), atol=1e-5)


class CoreWithSums(Core):
    """A core of one's own, whose state has parts of different shapes: a hidden state, and sums in three dimensions."""

    state_names = ("h", "sums")

    def _make_layers(self, input_dim):
        return torch.nn.ModuleList(
            [torch.nn.Linear(input_dim + 3 + self.hidden_dim, self.hidden_dim), torch.nn.Linear(input_dim, 3)]
        )

    def zero_state(self, inputs):
        return inputs.new_zeros(1, len(inputs), self.hidden_dim), inputs.new_zeros(2, len(inputs), 3)

    def forward(self, inputs, state=None):
        hidden, sums = self.zero_state(inputs) if state is None else state
        steps = []
        for step in inputs.unbind(1):
            sums = torch.stack([sums[0] + self.layers[1](step).tanh(), 0.5 * sums[0]])
            hidden = self.layers[0](torch.cat([step, sums.sum(0), hidden[-1]], -1)).tanh()[None]
            steps.append(hidden[0])
        return torch.stack(steps, 1), (hidden, sums)


@pytest.mark.parametrize("name", ["lightrnn", "full"])
def test_the_core_determines_the_shape_of_the_state(name, tmp_path):
    bundle = copy.deepcopy(bundle_of(name))
    torch.manual_seed(0)
    bundle.model.core = CoreWithSums(bundle.model.embedding.embedding_dim, 12).eval()
    metadata = write_onnx(bundle, tmp_path)
    assert [part["shape"] for part in metadata["state"]] == [[1, "N", 12], [2, "N", 3]]
    client = OnnxModel(tmp_path)
    for line, expected in zip(LINES, bundle.score(LINES), strict=True):
        assert client.score(line) == pytest.approx(expected, abs=1e-5)


def test_metadata_describes_the_graphs_and_weights_are_shared(tmp_path):
    bundle = bundle_of("lightrnn")
    metadata = write_onnx(bundle, tmp_path)
    assert metadata == json.loads((tmp_path / "metadata.json").read_text())
    sizes = {}
    for graph in metadata["graphs"]:
        model = onnx.load(str(tmp_path / graph["file"]))
        onnx.checker.check_model(str(tmp_path / graph["file"]))
        assert [part.name for part in model.graph.input] == graph["inputs"]
        assert [part.name for part in model.graph.output] == graph["outputs"]
        sizes[graph["file"]] = sum(onnx.numpy_helper.to_array(part).nbytes for part in model.graph.initializer)
    assert set(sizes) == {"row.onnx", "column.onnx"}
    assert (tmp_path / "weights.bin").stat().st_size < 0.7 * sum(sizes.values())
    assert [part["name"] for part in metadata["state"]] == ["h", "c"]


def test_wrong_weights_are_detected(tmp_path):
    bundle = bundle_of("lightrnn")
    write_onnx(bundle, tmp_path)
    path = tmp_path / "weights.bin"
    numbers = np.fromfile(path, dtype=np.float32)
    numbers[: len(numbers) // 2] *= 1.01
    numbers.tofile(path)
    with pytest.raises(ValueError, match=r"weights\.bin was changed"):
        OnnxModel(tmp_path)
    # Without fingerprints, the comparison with the model detects them.
    metadata = json.loads((tmp_path / "metadata.json").read_text())
    del metadata["fingerprint"]
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    assert min(compare_steps(bundle, OnnxModel(tmp_path), [5, 6, 7])[1:]) > 1e-4


def test_perplexity_carries_and_resets_the_state(tmp_path):
    bundle = bundle_of("hybrid")
    write_onnx(bundle, tmp_path)
    generator = torch.Generator().manual_seed(2)
    batches, total, count, state = [], 0.0, 0, None
    for number in range(3):
        words = torch.randint(59, (4, 6), generator=generator)
        mask = torch.rand(4, 5, generator=generator) < 0.8
        reset = torch.tensor([number == 0, number == 1, False, True])
        batches.append((words[:, :-1], words[:, 1:], mask, reset))
        with torch.no_grad():
            scores, state = bundle.model.score(words[:, :-1], words[:, 1:], state, reset)
        total, count = total - float(scores[mask].sum()), count + int(mask.sum())
    expected = np.exp(total / count)
    assert steps_perplexity(OnnxModel(tmp_path), batches) == pytest.approx(expected, rel=1e-5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An export of the LightRNN."""
    folder = tmp_path_factory.mktemp("export")
    write_onnx(bundle_of("lightrnn"), folder)
    return folder


def test_the_client_requires_neither_torch_nor_the_package(folder):
    blocked = "import sys; sys.modules['torch'] = sys.modules['lightrnn_pl'] = None\n"
    script = (
        blocked
        + "import runpy; sys.argv = ['client.py', *sys.argv[1:]]; runpy.run_path('client.py', run_name='__main__')"
    )

    done = subprocess.run(
        [sys.executable, "-c", script, ".", "--next", "3"],
        cwd=folder,
        input="the w3\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    expected = bundle_of("lightrnn").next_words("the w3", 3).words
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == [*expected, ""]


def test_the_client_stops_quietly_when_the_reader_closes_the_pipe(folder):
    script = 'yes the | head -n 20000 | "$0" client.py . --next 1 | head -n 1; echo ${PIPESTATUS[2]}'
    command = ["bash", "-c", script, sys.executable]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.stderr == "" and done.stdout.splitlines()[1:] == ["0"]


@pytest.fixture
def client(folder, monkeypatch, capsys):
    """Runs the client in this process; returns the lines of standard output, and standard error."""

    def run(*arguments: str, text: str = ""):
        monkeypatch.setattr(sys, "argv", ["client.py", str(folder), *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        onnx_client.main()
        captured = capsys.readouterr()
        return captured.out.splitlines(), captured.err

    return run


def test_the_client_scores_lines(client):
    bundle = bundle_of("lightrnn")
    (line,), errors = client(text="the w3 never w3 never\n")
    score, text = line.split("\t")
    assert float(score) == pytest.approx(sum(bundle.score([text])[0]), abs=1e-4) and text == "the w3 never w3 never"
    assert errors == "unknown words: 2, scored as <unk>\n"


def test_the_client_separates_the_next_words_of_lines(client):
    bundle = bundle_of("lightrnn")
    lines, errors = client("--next", "2", "--complete", text="the w3\nthe x\nnever w\n")
    expected = [bundle.next_words("the", 2, prefix="w3").words, (), bundle.next_words("never", 2, prefix="w").words]
    assert [line.split("\t")[0] for line in lines] == [word for words in expected for word in (*words, "")]
    assert errors.splitlines() == [
        "no word of the vocabulary starts with x",
        f"not in the vocabulary, read as {bundle.vocabulary.unknown}: never",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--next", "0"], "at least 1, got 0"), (["--complete"], "--complete and --unknown require --next")],
)
def test_errors_of_the_client_are_one_line(client, capsys, arguments, message):
    with pytest.raises(SystemExit) as end:
        client(*arguments)
    assert end.value.code == 2 and message in capsys.readouterr().err.splitlines()[-1]


def test_words_outside_a_vocabulary_without_unknown_word_are_refused(folder):
    model = OnnxModel(folder)
    model.metadata["unknown"] = None
    with pytest.raises(ValueError, match="never is not in the vocabulary, which has no unknown word"):
        model.score("the never")


def test_the_client_requires_an_export(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["client.py", str(tmp_path)])
    with pytest.raises(SystemExit):
        onnx_client.main()
    assert "does not contain metadata.json" in capsys.readouterr().err
