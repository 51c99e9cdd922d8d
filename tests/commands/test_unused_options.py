"""Options of commands: each is read by its command, and refused if another option makes it irrelevant."""

import re
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from lightrnn_pl.commands.evaluate import evaluate
from lightrnn_pl.commands.export import export
from lightrnn_pl.commands.generate import generate
from lightrnn_pl.commands.rescore import rescore
from lightrnn_pl.commands.table import table
from tests.composition import composed

ROOT = Path(__file__).parents[2]
COMMANDS = {
    # Modules that receive the configuration of a command, relative to lightrnn_pl.
    "dashboard": ["training/tracking/wandb_workspace.py"],
    "evaluate": ["commands/evaluate.py", "commands/adaptive_evaluation.py", "ngrams/interpolation.py"],
    "export": ["commands/export.py", "export/formats.py"],
    "generate": ["commands/generate.py"],
    "ngram": ["commands/ngram.py"],
    "report": ["commands/report.py"],
    "rescore": ["commands/rescore.py", "commands/nbest_input.py"],
    "score": ["commands/score.py"],
    "serve": ["commands/serve.py"],
    "table": ["commands/table.py", "commands/grow.py"],
}


def test_every_command_is_listed():
    assert set(COMMANDS) == {path.stem for path in (ROOT / "conf").glob("*.yaml")} - {"train"}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_key_is_read(command):
    content = yaml.safe_load((ROOT / "conf" / f"{command}.yaml").read_text(encoding="utf-8"))
    keys = content.keys() - {"defaults", "hydra"}
    source = "".join((ROOT / "lightrnn_pl" / module).read_text(encoding="utf-8") for module in COMMANDS[command])
    source = re.sub(r"check_unused\(.*?\n", "", source)  # a check is no use
    for key in keys:
        by_name = rf'"{key}"'  # config[key] for each key of a tuple
        assert re.search(rf"\bconfig\.{key}\b|{by_name}", source) or (
            key.startswith(("dev_", "test_")) and f"_{key.partition('_')[2]}" in source
        ), key


@pytest.mark.parametrize(
    ("command", "overrides", "message"),
    [
        (evaluate, ["interpolate_order=3"], "interpolate_order=3 applies to the Kneser-Ney model"),
        (evaluate, ["interpolate=cache", "interpolate_estimator=own"], "interpolate_estimator=own applies to the Kne"),
        (evaluate, ["interpolate=kn", "cache_words=9"], "cache_words=9 requires interpolate=cache"),
        (evaluate, ["cache_decay=0.5"], "cache_decay=0.5 requires interpolate=cache"),
        (evaluate, ["neural_cache_words=[9]"], r"neural_cache_words=\[9\] requires neural_cache=true"),
        (evaluate, ["dynamic_decay=[0.1]"], r"dynamic_decay=\[0.1\] requires dynamic_evaluation=sgd or rms"),
        (
            evaluate,
            ["dynamic_evaluation=sgd", "dynamic_statistics_words=9"],
            "dynamic_statistics_words=9 requires dynamic_evaluation=rms",
        ),
        (evaluate, ["text=a.txt", "splits=[test]"], r"splits=\['test'\] has no effect with text=a.txt"),
        (evaluate, ["text=a.txt", "data=pydoc"], "data=pydoc has no effect with text=a.txt"),
        (export, ["output=a", "valid=null", "words=5"], "words=5 applies to the validation text"),
        (export, ["output=a", "check_words=5"], "check_words=5 applies to format=onnx"),
        (export, ["output=a", "format=int8", "largest_table=5"], "largest_table=5 applies to format=onnx"),
        (generate, ["next=3", "words=5"], "words=5 applies to continuations"),
        (generate, ["next=3", "stop=false"], "stop=False applies to continuations"),
        (generate, ["next=3", "seed=1"], "seed=1 applies to continuations"),
        (rescore, ["test=a", "restarts=3"], "restarts=3 applies to tuning"),
        (rescore, ["test=a", "lowercase=true"], "lowercase=True applies to the metric"),
        (table, ["min_count=3"], "min_count=3 requires grow=TEXT"),
        (table, ["max_words=3"], "max_words=3 requires grow=TEXT"),
        (table, ["word=a", "rows=3"], "rows=3 has no effect with word="),
        (table, ["compare=a", "axis=column"], "axis=column has no effect with compare="),
    ],
)
def test_options_without_effect_are_refused(command, overrides, message, trained):
    config = composed(command.__name__, *overrides)
    if command is not rescore:
        OmegaConf.update(config, "checkpoint", str(trained))
    with pytest.raises(ValueError, match=message) as caught:
        command(config)
    assert "\n" not in str(caught.value)
