"""``lightrnn-train debug=size``: the sizes equal those of the exports of a trained model."""

import pytest

from lightrnn_pl.checkpoint import load
from lightrnn_pl.cli.entry_points import train as main
from lightrnn_pl.commands.export_sizes import print_export_sizes
from lightrnn_pl.export.bundle_writer import write_bundle
from lightrnn_pl.export.folders import folder_bytes
from lightrnn_pl.export.onnx_writer import write_onnx
from lightrnn_pl.training.experiment import train
from tests.training.runs import compose_run

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

WITH_METRICS = {"config.json", "metadata.json", "README.md"}


@pytest.mark.parametrize(
    "options",
    [
        ("model=lightrnn",),
        ("model=slim", "model.hidden_dim=16"),
        ("model=row_word_adaptive", "model.tied=true", "model.cutoffs=[5]", "model.div_value=2.0"),
    ],
)
def test_sizes_are_those_of_the_exports(options, tmp_path, tiny_text, capsys):
    options = (*options, "reallocation=none", "trainer.max_steps=2")
    sizes = print_export_sizes(compose_run(tmp_path / "run", tiny_text, *options, "debug=size"))
    output = capsys.readouterr().out
    assert not (tmp_path / "run").exists(), "nothing is written to the run folder"
    train(compose_run(tmp_path / "run", tiny_text, *options))
    bundle = load(tmp_path / "run")
    for name, files in sizes.items():
        folder = tmp_path / name
        folder.mkdir()
        write = write_onnx if name.startswith("onnx") else write_bundle
        write(bundle, folder, eight_bits=name.endswith("int8"))
        actual = folder_bytes(folder)
        assert files.keys() == {*actual, "README.md"}
        for file in actual:
            # Files with metrics differ by the length of the metrics, quantized graphs by that of integers.
            limit = 3000 if file in WITH_METRICS else 20 if file.endswith(".onnx") else 0
            assert abs(files[file] - actual[file]) <= limit, (name, file)
        assert f"{sum(files.values()):,}" in output
    assert sizes.keys() == {"safetensors", "int8", "onnx", "onnx_int8"}


def test_init_from_is_refused(tmp_path, tiny_text):
    config = compose_run(tmp_path / "run", tiny_text, "debug=size", "init_from=demo")
    with pytest.raises(ValueError, match="run lightrnn-export checkpoint=demo instead"):
        print_export_sizes(config)


def test_the_command_leaves_no_folder(tmp_path, tiny_text, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    corpus = [f"data.{split}={path}" for split, path in tiny_text.items()]
    arguments = ("debug=size", "data=text", *corpus, "model.hidden_dim=8", f"paths.cache_dir={tmp_path / 'cache'}")
    monkeypatch.setattr("sys.argv", ["lightrnn-train", *arguments])
    main()
    assert "bytes of each export" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} <= {"cache"}
