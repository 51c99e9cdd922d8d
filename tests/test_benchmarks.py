"""The benchmarks of output layers, text, training next to the published model, large vocabularies, and a GPU."""

import gzip
import importlib
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks import ctc_decoding, harness, speech_lists, text_reading
from lightrnn_pl.rescoring.nbest_lists import parse_line

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def scripts(monkeypatch):
    """The benchmarks import each other as scripts do."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    names = (
        "harness",
        "nbest_lists",
        "large_vocabulary",
        "output_layers",
        "training_step",
        "word_language_model",
        "gpu",
    )
    yield
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def run_script(scripts, monkeypatch):
    """Runs a benchmark with arguments, in this process."""

    def run(name: str, *arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        monkeypatch.setattr(importlib.import_module("harness"), "START_METHOD", "fork")  # saves seconds of imports
        runpy.run_path(str(BENCHMARKS / name), run_name="__main__")

    return run


def test_output_layers_on_the_cpu(run_script, tmp_path, capsys):
    sizes = ("--vocabulary", "50", "--hidden", "8", "--batch", "2", "--phases", "training")
    path = tmp_path / "layers.json"
    run_script("output_layers.py", *sizes, "--outputs", "slim", "--device", "cpu", "--json", str(path))
    (row,) = json.loads(path.read_text())
    assert (row["output"], row["phase"], row["device"]) == ("slim", "training", "cpu") and row["seconds"] > 0
    assert "| slim | 50 | training | 1 thread |" in capsys.readouterr().out


def test_an_absent_device_is_reported_in_one_line(run_script, capsys):
    with pytest.raises(SystemExit) as end:
        run_script("output_layers.py", "--device", "cuda:99")
    expected = "--device=cuda:99 is not available on this machine; auto uses a GPU if there is one\n"
    assert (end.value.code, capsys.readouterr().err) == (2, expected)


@pytest.mark.parametrize(("device", "waits"), [("cpu", 0), ("cuda:1", 1), ("mps", 1)])
def test_a_step_ends_when_a_gpu_has_finished(device, waits, monkeypatch):
    calls = []
    monkeypatch.setattr(torch.accelerator, "synchronize", calls.append)
    harness.synchronize(torch.device(device))
    assert calls == [torch.device(device)] * waits


@pytest.mark.parametrize("case", ["token cache", "epoch without a cache"])
def test_text_reading(case, tmp_path):
    size = text_reading.write_shards(
        tmp_path / "text", 20_000, np.ones(50), num_shards=3, compress=case != "token cache"
    )
    shards = sorted((tmp_path / "text").glob("news*"))
    texts = [gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes() for path in shards]
    assert len(shards) == 3 and sum(map(len, texts)) == size
    row = text_reading.measure(case, str(tmp_path / "text" / "news*"), str(tmp_path / "cache"))
    assert row["tokens"] == sum(len(text.split()) + text.count(b"\n") for text in texts)
    assert 20_000 <= row["tokens"] < 24_000


def test_the_gpu_benchmark_in_its_reduced_form(commands, tmp_path):
    path = tmp_path / "out" / "gpu.json"
    command = [BENCHMARKS / "gpu.sh", "--reduced", "--device", "cpu", "--json", path]
    done = subprocess.run(
        list(map(str, command)),
        env={**os.environ, "PYTHON": str(commands / "python"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(path.read_text())
    parts = {part: rows for part, rows in result.items() if isinstance(rows, list)}
    assert parts.keys() == {"peak", "tests", "training", "slim", "statistics", "speed"}
    assert not [row for rows in parts.values() for row in rows if "error" in row]
    assert [row["precision"] for row in parts["peak"]] == ["float32", "float16", "bfloat16"]
    assert len(parts["speed"]) == 4 and all(row["share_of_peak"] > 0 for row in parts["speed"])
    assert parts["training"][0]["test_perplexity"] > 1 and len(parts["slim"]) == 4
    page = path.with_suffix(".md").read_text()
    assert all(f"## {part}" in page for part, rows in parts.items() if rows) and "| word_language_model | 300 |" in page


def test_the_gpu_benchmark_needs_a_gpu_unless_it_is_reduced(scripts, monkeypatch, capsys):
    gpu = importlib.import_module("gpu")
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cpu"])
    with pytest.raises(SystemExit) as error:
        gpu.main()
    assert error.value.code == 2
    assert capsys.readouterr().err.startswith("no GPU is available on this machine; --reduced --device cpu")


def test_a_measurement_that_fails_is_reported_and_the_others_continue(scripts, monkeypatch, tmp_path):
    gpu = importlib.import_module("gpu")

    def measurements(arguments, device):
        yield lambda: {"precision": "float32", "tflops": 1.0}
        yield lambda: 1 / 0
        yield lambda: {"precision": "float16", "tflops": 2.0}

    monkeypatch.setitem(gpu.PARTS, "peak", measurements)
    arguments = SimpleNamespace(parts="peak", minutes=1.0, reduced=True, json=tmp_path / "gpu.json")
    rows = gpu.run(arguments, torch.device("cpu"))["peak"]
    assert rows[1] == {"error": "ZeroDivisionError: division by zero"} and rows[2]["tflops"] == 2.0
    assert "| float16 | 2 |  |" in (tmp_path / "gpu.md").read_text()
    arguments.minutes = 0.0
    assert gpu.run(arguments, torch.device("cpu"))["peak"] == [{"error": "not started after --minutes=0"}]


def test_models_of_the_gpu_benchmark_exist(scripts):
    gpu = importlib.import_module("gpu")
    options = {name.split()[0].partition(":")[0] for name in gpu.MODELS.split(",")} - {gpu.PUBLISHED}
    assert all((BENCHMARKS.parent / "conf" / "model" / f"{option}.yaml").is_file() for option in options)


@pytest.mark.parametrize("name", ["word_language_model", "full", "lightrnn", "full model/core=mingru"])
def test_operations_of_a_step(name, scripts):
    """Matrix products of the LSTM, and of the output layer with its two gradients."""
    training_step = importlib.import_module("training_step")
    setting = training_step.Setting(num_words=100, hidden=8, batch=2, window=3)
    step = training_step.create_step(name, setting)
    words = 2 * 3
    core = {"lightrnn": 2 * 8 * 8 * 8, "full model/core=mingru": 2 * 8 * 8}.get(name, 8 * 8 * 8)
    output = 2 * 10 * 8 if name == "lightrnn" else 100 * 8
    assert step.operations() == 6 * words * (core + output)
    assert step.run().isfinite()


def test_the_published_model_and_ours_have_the_same_size_and_are_compared(scripts):
    benchmark = importlib.import_module("word_language_model")
    setting = benchmark.Setting(num_words=60, hidden=8, batch=2, window=3)
    rows = benchmark.compare(["full", "lightrnn"], setting, rounds=2)
    assert [row["model"] for row in rows] == ["word_language_model", "full", "lightrnn"] and rows[0]["ratio"] == 1
    assert all(row["words_per_second"] > 0 and row["ratio"] > 0 for row in rows)
    published, ours = (benchmark.create_step(name, setting).model for name in ("word_language_model", "full"))
    sizes = [sum(parameter.numel() for parameter in model.parameters()) for model in (published, ours)]
    assert sizes[0] == sizes[1]
    assert "| full | 60 | cpu | float32 |" in benchmark.markdown(rows)


def test_the_published_model_trains_to_the_perplexity_of_ours(scripts, tmp_path, tiny_text):
    benchmark = importlib.import_module("word_language_model")
    files = [f"data.{split}={path}" for split, path in tiny_text.items()]
    sizes = ("data.batch_size=4", "data.sequence_length=7", "data.eval_batch_size=3")
    setting = benchmark.Setting(num_words=0, hidden=8, dropout=0.0)
    overrides = ["data=text", *files, *sizes, f"paths.cache_dir={tmp_path}"]
    rows = benchmark.perplexities(setting, 2, overrides)
    published, ours = (row["validation_perplexity"] for row in rows if row["epoch"] == 2)
    assert published == pytest.approx(ours, rel=0.05) and ours < rows[-2]["validation_perplexity"]


def test_clustering(run_script, tmp_path, capsys):
    counts = np.maximum(1, 2000 // np.arange(1, 201))
    np.save(tmp_path / "counts.npy", counts)
    sizes = ("--tokens", "5000", "--iterations", "2", "--methods", "default", "approximate")
    run_script("clustering.py", "--counts", str(tmp_path / "counts.npy"), *sizes)
    default, approximate = (line.split(" | ") for line in capsys.readouterr().out.splitlines()[-2:])
    assert default[:2] == ["| 200", "default"] and approximate[:2] == ["| 200", "approximate"]
    assert all(0 < float(row[-2]) < 1 and 0 < float(row[-1].rstrip(" |")) < 1 for row in (default, approximate))
    assert default[-2:] != approximate[-2:]


def test_speech_lists_are_sorted_by_acoustic_score(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat\nN dogs ran to <unk> the cat\ntoo short\n")
    speech_lists.make(text, tmp_path / "out", text, sentences=10, count=8, error=0.2, seed=0)
    assert (tmp_path / "out.ref").read_text() == "the cat sat on the mat\nN dogs ran to <unk> the cat\n"
    lines = [parse_line(line) for line in (tmp_path / "out.nbest").read_text().splitlines()]
    kaldi = (tmp_path / "out.words_text").read_text().splitlines()
    assert [line.split(" ", 1)[1] for line in kaldi] == [line.text for line in lines]
    costs = dict(line.split() for line in (tmp_path / "out.acwt").read_text().splitlines())
    assert [float(costs[line.split()[0]]) for line in kaldi] == [-line.score for line in lines]
    references = (tmp_path / "out.text").read_text().splitlines()
    assert references == ["utt000000 the cat sat on the mat", "utt000001 N dogs ran to <unk> the cat"]
    words = set(text.read_text().split())
    for number in (0, 1):
        group = [line for line in lines if line.sentence == number]
        scores = [line.score for line in group]
        assert len(group) == 8 and scores == sorted(scores, reverse=True)
        assert {word for line in group for word in line.text.split()} <= words
    assert kaldi[8].startswith("utt000001-1 N ") and all("<unk>" in line.text for line in lines[8:])
    assert speech_lists.edit_distance("kitten", "sitting") == 3 and speech_lists.edit_distance("", "ab") == 2


def test_long_words_without_similar_words_in_the_vocabulary_are_not_lost():
    words = ["hospitality", "yesterday", "circumstances"]
    channel = speech_lists.Channel([*words, "a"], 0.5, np.random.default_rng(0))
    for word in [*words, "unknowable"] * 25:
        assert channel.candidates(word)[0] == [word]
    short = [channel.candidates("a")[0] for _ in range(25)]
    assert ["a", ""] in short and all(found[-1] == "" for found in short)


@pytest.mark.parametrize("arguments", ["nbest_lists missing out", "speech_lists missing out --vocabulary missing"])
def test_missing_texts_of_lists_are_reported_in_one_line(arguments, monkeypatch, capsys):
    name, *others = arguments.split()
    monkeypatch.setattr(sys, "argv", [name, *others])
    with pytest.raises(SystemExit):
        runpy.run_path(str(BENCHMARKS / f"{name}.py"), run_name="__main__")
    assert capsys.readouterr().err.endswith(": error: missing is not a file; pass a text file\n")


@pytest.mark.parametrize("decoder", ["flashlight", "pyctcdecode"])
def test_decoding_needs_the_package_of_the_decoder(decoder, monkeypatch):
    monkeypatch.setitem(sys.modules, decoder, None)
    message = rf"^the package {decoder}\S* is required: pip install 'lightrnn_pl\[{decoder}\]'$"
    with pytest.raises(ValueError, match=message):
        ctc_decoding.check_packages(decoder)


def test_large_vocabulary(scripts, commands, monkeypatch, tmp_path, capsys):
    benchmark = importlib.import_module("large_vocabulary")
    files, sizes = benchmark.Files(tmp_path / "work"), ["data.batch_size=4", "data.sequence_length=7"]
    benchmark.prepare(files, 1 / np.arange(1, 301), 6_000)
    words = files.text("train").read_text().split()
    assert len(set(words)) == 300 and len(words) == pytest.approx(6_000 * 25 / 26, abs=25)
    benchmark.make_allocation(str(files.table), *benchmark.data_overrides(files))
    arguments = ["--folder", str(files.folder), "--words", "300", "--tokens", "6000", "--steps", "4", "--hidden", "8"]
    stages = ["--models", "lightrnn", "--stages", "^(training|reallocation|evaluation|report)$", "--json"]
    monkeypatch.setattr(sys, "argv", ["large_vocabulary.py", *arguments, *stages, str(tmp_path / "rows.json"), *sizes])
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    with pytest.raises(SystemExit) as ended:
        benchmark.main()
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert not ended.value.code, rows
    assert [row["stage"] for row in rows] == ["training", "reallocation", "evaluation", "report"]
    assert all(row["seconds"] >= row["silence"] > 0 and row["peak_mib"] > 0 for row in rows)
    assert "words/s" in rows[0]["details"] and "words, gap" in rows[1]["details"]
    assert "| reallocation | lightrnn | " in capsys.readouterr().out


def test_a_command_that_fails_is_reported(scripts, tmp_path):
    benchmark = importlib.import_module("large_vocabulary")
    stage = benchmark.Stage("broken", "", ["sh", "-c", "echo it is broken; exit 3"])
    row = benchmark.measure(stage, tmp_path / "logs" / "broken.txt")
    assert row["details"] == "FAILED with status 3: it is broken"
    assert (tmp_path / "logs" / "broken.txt").read_text().strip() == "it is broken"
