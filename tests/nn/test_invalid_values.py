"""Invalid settings are rejected when the model is built, with a message that names the key and the value.

Runtime type checks are disabled in these tests, as they are for users, because they would reject many values first.
"""

import jaxtyping
import pytest

from lightrnn_pl.building import build_allocation, build_model
from lightrnn_pl.vocabulary import Vocabulary
from tests.training.runs import compose_overrides

INVALID_SETTINGS = {
    ("model=slim", "model.output.compression=abc"): r"model\.output\.compression must be a ratio .* got abc",
    ("model=slim", "model.output.compression=true"): r"model\.output\.compression must be a ratio .* got True",
    ("model=slim", "model.embedding.compression=[1]"): r"model\.embedding\.compression must be a ratio .* got \[1\]",
    ("model=slim", "model.embedding.disjoint=2"): r"model\.embedding\.disjoint must be true or false, got 2",
    ("model=slim", "model.output.map.seed=-1"): r"model\.output\.map\.seed.* got -1",
    ("model=slim", "model/map@model.embedding.map=hashed", "model.embedding.map.seed=abc"): r"map\.seed.* got abc",
    ("model=slim", "model/map@model.embedding.map=clustered"): r"model\.embedding\.map\.path .* is missing",
    ("model=slim", "model/map@model.output.map=clustered"): r"model\.output\.map\.path, .* is missing",
    ("model=hashed", "model.output.signed=3"): r"model\.output\.signed must be true or false, got 3",
    ("model=hashed", "model.embedding.signed=yes"): r"model\.embedding\.signed must be true or false, got yes",
    ("model=hashed", "model.output.seed=-1"): r"model\.output\.seed .* got -1",
    ("model=hashed", "model.embedding.seed=-1"): r"model\.embedding\.seed .* got -1",
    ("model=hashed", "model.output.compression=abc"): r"model\.output\.compression must be a ratio .* got abc",
    ("model=adaptive", "model.output.cutoffs=5"): r"cutoffs must be a list of integers, such as \[5\], got 5",
    ("model=adaptive", "model.output.cutoffs=abc"): r"model\.output\.cutoffs must be a list .* got abc",
    ("model=adaptive", "model.output.cutoffs=[abc]"): r"every value of model\.output\.cutoffs must be .* got abc",
    ("model=adaptive", "model.output.div_value=true"): r"model\.output\.div_value must be a number .* got True",
    ("model=char_hierarchical", "model.embedding.widths=5"): r"model\.embedding\.widths must be a list .* got 5",
    ("model=char_hierarchical", "model.embedding.features=abc"): r"model\.embedding\.features .* a list .* got abc",
    ("model=hierarchical", "model.output.classes.seed=abc"): r"model\.output\.classes\.seed must be .* got abc",
    ("model=hierarchical", "model/output/classes=frequency", "model.output.classes.power=true"): r"power .* got True",
    ("model=hierarchical", "model/output/classes=clusters"): r"training text, .* use model/output/classes=frequency",
    ("model=full", "model/loss=nce", "model.loss.learn_partition=2"): r"learn_partition must be true or false, got 2",
    (
        "model=full",
        "model/loss=nce",
        "model.loss.log_partition=abc",
    ): r"log_partition must be a finite number.* got abc",
    ("model=full", "model/loss=nce", "model.loss.power=true"): r"model\.loss\.power must be .* got True",
}


def build(*overrides, num_words=40):
    vocabulary = Vocabulary([f"w{number}" for number in range(num_words)], range(2 * num_words, num_words, -1))
    config = compose_overrides(*overrides, "model.hidden_dim=40", "model.num_layers=1")
    return build_model(config, build_allocation(config, vocabulary), vocabulary)


@pytest.fixture
def no_type_checks(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.usefixtures("no_type_checks")
@pytest.mark.parametrize(("overrides", "message"), INVALID_SETTINGS.items(), ids=lambda value: str(value)[:60])
def test_invalid_settings_are_rejected(overrides, message):
    with pytest.raises(ValueError, match=message) as error:
        build(*overrides)
    assert "argument" not in str(error.value)


def test_adaptive_softmax_needs_two_words():
    with pytest.raises(ValueError, match=r"only 1 word; use model/output=full") as error:
        build("model=adaptive", num_words=1)
    assert "cutoffs" not in str(error.value)
