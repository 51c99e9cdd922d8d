"""From configuration to objects: only trusted targets, one word table."""

import pytest
from omegaconf import OmegaConf

from lightrnn_pl.building import as_config, as_plain, instantiate


def test_instantiates_trusted_targets():
    rules = instantiate(OmegaConf.create({"_target_": "lightrnn_pl.vocabulary.VocabularyRules", "min_count": 3}))
    assert rules.min_count == 3


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "torch.hub.load",
        # Reached through a trusted module, but defined elsewhere.
        "lightrnn_pl.files.os.system",
        "lightrnn_pl.files.json.dumps",
    ],
)
@pytest.mark.parametrize("wrap", [lambda node: node, lambda node: {"a": [{"b": node}]}])
def test_refuses_other_targets_wherever_they_hide(target, wrap):
    with pytest.raises(ValueError, match=f"{target} is not defined in a trusted package.*LIGHTRNN_TRUSTED_PACKAGES"):
        instantiate(wrap({"_target_": target}))


def test_the_user_can_trust_a_package(monkeypatch):
    monkeypatch.setenv("LIGHTRNN_TRUSTED_PACKAGES", "somewhere, fractions")
    assert instantiate({"_target_": "fractions.Fraction", "numerator": 1, "denominator": 2}) == 0.5


def test_plain_configuration_round_trips():
    config = as_config({"a": 1, "b": {"c": "${a}", "d": [1, None]}})
    assert as_plain(config) == {"a": 1, "b": {"c": 1, "d": [1, None]}}
