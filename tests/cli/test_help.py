"""The text of ``--help``: every key of a command with its comment, and the keys of selected options."""

from pathlib import Path

import pytest
import yaml

from lightrnn_pl.cli.config_options import hide_private_options
from lightrnn_pl.cli.entry_points import train
from lightrnn_pl.cli.help import help_text

CONF = Path(__file__).parents[2] / "conf"
COMMANDS = sorted(path.stem for path in CONF.glob("*.yaml"))


@pytest.fixture(autouse=True, scope="module")
def private_options_are_hidden():
    hide_private_options()


@pytest.mark.parametrize("name", COMMANDS)
def test_lists_every_key_of_a_command_with_its_comment(name):
    text = help_text(name, [])
    lines = (CONF / f"{name}.yaml").read_text().splitlines()
    keys = yaml.safe_load("\n".join(lines)).keys() - {"defaults", "hydra"}
    assert keys and all(f"\n{key}:" in text for key in keys)
    for line in lines[: lines.index("hydra:") if "hydra:" in lines else None]:
        if "#" in line and not line.startswith(("#", "  - ")):
            assert line in text
    assert "_target_" not in text and "\ndefaults:" not in text and f"lightrnn-{name}" in text


def test_lists_the_keys_of_selected_options_with_inherited_comments():
    text = help_text("train", ["model=slim", "optimizer=adam"])
    slim = text.partition("\nmodel:  (model=slim)\n")[2].partition("\n\n")[0]
    assert "  components: 1 # codes per word (k)" in slim and slim.count("  tied: ") == 1
    assert "model.embedding:  (model/embedding=slim)\n  # Vectors composed of shared sub-vectors" in text
    assert "  compression: 0.1 # number of parameters relative to full vectors" in text
    assert "optimizer:  (optimizer=adam)\n  # Adam.\n  lr: 0.001\n" in text
    assert "_common" not in text and "_callback" not in text
    corpus = help_text("train", ["data=billionw"]).partition("\ndata:  (data=billionw)\n")[2].partition("\n\n")[0]
    assert corpus.count("  vocabulary:\n") == 1 and "    min_count: 3 # less frequent words are" in corpus
    default = help_text("train", [])
    assert "  components: 2 # codes per word (k)" in default and "  name: pydoc\n" in default
    assert max(map(len, text.splitlines())) < 200


def test_the_version_is_that_of_this_package(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["lightrnn-train", "--version"])
    train()
    assert capsys.readouterr().out.startswith("lightrnn_pl 0.")
