"""Values of overrides with any characters are read as they are."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from lightrnn_pl.cli.hydra_arguments import with_quoted_text
from lightrnn_pl.commands.override_values import with_quoted_values


def value_of(override: str):
    value = OverridesParser.create().parse_override(override).value()
    return getattr(value, "list", value)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.train=données.txt", "données.txt"),
        ("data.train=[a.txt, données.txt]", ["a.txt", "données.txt"]),
        ("hydra.run.dir=runs/français/${now:%Y-%m-%d}", "runs/français/${now:%Y-%m-%d}"),
        ("name=R&D <1>; a#b!~=x^y", "R&D <1>; a#b!~=x^y"),
        ("+paths.new=~/é", "~/é"),
        ("name=é\\", "é\\"),
        ("name=語", "語"),
        ("data.train='é,b'", "é,b"),
        ("seed=3", 3),
        ("reallocation.epochs_per_round=[1,2]", [1, 2]),
        ("paper={a:b}", {"a": "b"}),
    ],
)
def test_unreadable_values_are_quoted(override, expected):
    (quoted,) = with_quoted_values([override])
    assert value_of(quoted) == expected
    assert with_quoted_values([quoted]) == [quoted]


def test_values_of_a_sweep_are_quoted_separately():
    (quoted,) = with_quoted_values(["data.train=a.txt,é.txt"])
    assert [str(getattr(value, "text", value)) for value in value_of(quoted)] == ["a.txt", "é.txt"]


@pytest.mark.parametrize("argument", ["--config-dir=é", "--multirun", "~model.dropout", "foo", "seed=range(1,3)"])
def test_other_arguments_are_unchanged(argument):
    assert with_quoted_values([argument]) == [argument]


@pytest.mark.parametrize("text", ["l'", "é", ",", "a [b] {c}", '"', "'"])
@pytest.mark.parametrize("key", ["prompt", "prefix", "word"])
def test_texts_need_no_quotes(key, text):
    (quoted,) = with_quoted_values(with_quoted_text([f"{key}={text}"]))
    assert value_of(quoted) == text
