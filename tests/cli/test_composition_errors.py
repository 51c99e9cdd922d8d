"""Errors in overrides: one line that names the override and what was probably meant."""

import pytest

from lightrnn_pl.cli import entry_points


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["model.hiden_dim=3"], "model.hiden_dim is not a key of the configuration; did you mean model.hidden_dim? "),
        (
            ["data.max_size=3"],
            "data.max_size is not a key of the configuration; did you mean data.vocabulary.max_size? ",
        ),
        (["lr=3"], "lr is not a key of the configuration; did you mean optimizer.lr? "),
        (["mdel=full"], "mdel is not a key of the configuration; did you mean model? --help lists all keys"),
        (
            ["model=slim", "model.embedding.compresion=1"],
            "model.embedding.compresion is not a key of the configuration; did you mean model.embedding.compression? ",
        ),
        (["model/core=lstmm"], "model/core=lstmm is not an option; did you mean lstm? use gru, lstm, mingru, rnn"),
        (["experiment=slim/tabel2"], "experiment=slim/tabel2 is not an option; did you mean table2? use figure2,"),
        (["zzzzzz=1"], "zzzzzz is not a key of the configuration; --help lists all keys"),
        (["foo"], "foo is not of the form key=value; --help lists all keys"),
        (["name=(a"], "the value of name=(a cannot be read; quote it twice, as in name=\"'(a'\""),
        (["+seed=1"], "Could not append to config. An item is already at 'seed'."),
        (["-m", "seed=0,1", "mdel=full"], "mdel is not a key of the configuration; did you mean model?"),
        (["+ckpt_path=x"], "+ckpt_path=x: lightrnn-train has no key ckpt_path; --help lists all keys"),
    ],
)
def test_train(arguments, expected, monkeypatch, capsys, tmp_path):
    assert_one_line(
        "train", [*arguments, "hydra.run.dir=run", "hydra.sweep.dir=runs"], expected, monkeypatch, capsys, tmp_path
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["chekpoint=x"], "chekpoint is not a key of the configuration; did you mean checkpoint? "),
        (["+text_file=x", "checkpoint=x"], "+text_file=x: lightrnn-evaluate has no key text_file; "),
    ],
)
def test_evaluate(arguments, expected, monkeypatch, capsys, tmp_path):
    assert_one_line("evaluate", arguments, expected, monkeypatch, capsys, tmp_path)


def assert_one_line(name, arguments, expected, monkeypatch, capsys, folder):
    monkeypatch.chdir(folder)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.setattr("sys.argv", [f"lightrnn-{name}", *arguments])
    with pytest.raises(SystemExit) as end:
        getattr(entry_points, name)()
    error = capsys.readouterr().err
    assert end.value.code == 2 and error.count("\n") == 1 and error.startswith(f"error: {expected}")
