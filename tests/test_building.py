"""Building objects from the configuration: trusted targets only, readable errors, optional arguments."""

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from lightrnn_pl.building import as_config, as_plain, build_allocation, build_model, instantiate
from lightrnn_pl.vocabulary import Vocabulary
from tests.training.runs import compose_overrides


def test_instantiates_trusted_targets():
    rules = instantiate(OmegaConf.create({"_target_": "lightrnn_pl.vocabulary.VocabularyRules", "min_count": 3}))
    assert rules.min_count == 3


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "torch.hub.load",
        # Accessible through a trusted module, but defined elsewhere.
        "lightrnn_pl.files.os.system",
        "lightrnn_pl.files.json.dumps",
    ],
)
@pytest.mark.parametrize("wrap", [lambda node: node, lambda node: {"a": [{"b": node}]}])
def test_rejects_untrusted_targets_at_any_depth(target, wrap):
    with pytest.raises(ValueError, match=f"{target} is not defined in a trusted package.*LIGHTRNN_TRUSTED_PACKAGES"):
        instantiate(wrap({"_target_": target}))


def test_users_can_trust_additional_packages(monkeypatch):
    monkeypatch.setenv("LIGHTRNN_TRUSTED_PACKAGES", "somewhere, fractions")
    assert instantiate({"_target_": "fractions.Fraction", "numerator": 1, "denominator": 2}) == 0.5


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"trainer": {"_target_": "pytorch_lightning.Trainer", "bogus": 2}},
            r"^trainer cannot be set up as configured: .*unexpected keyword argument 'bogus'$",
        ),
        (
            {"logger": {"comet": {"_target_": "pytorch_lightning.loggers.CometLogger"}}},
            r"^logger\.comet cannot be set up as configured: .*comet-ml",
        ),
        ({"_target_": "lightrnn_pl.vocabulary.VocabularyRules", "bogus": 2}, "VocabularyRules cannot be set up.*bogus"),
    ],
)
def test_reports_failed_construction_by_key_in_one_line(config, message):
    with pytest.raises(ValueError, match=message) as caught:
        instantiate(OmegaConf.create(config))
    assert "\n" not in str(caught.value) and "_target_" not in str(caught.value)


def test_reports_an_unavailable_accelerator(monkeypatch):
    import pytorch_lightning as pl

    def refuse(self, **_):
        raise pl.utilities.exceptions.MisconfigurationException("No supported gpu backend found!")

    monkeypatch.setattr(pl.Trainer, "__init__", refuse)
    with pytest.raises(ValueError, match=r"^trainer cannot be set up as configured: No supported gpu backend found!$"):
        instantiate(OmegaConf.create({"trainer": {"_target_": "pytorch_lightning.Trainer"}}).trainer)


def test_plain_configuration_round_trips():
    config = as_config({"a": 1, "b": {"c": "${a}", "d": [1, None]}})
    assert as_plain(config) == {"a": 1, "b": {"c": 1, "d": [1, None]}}


def test_passes_the_training_text_to_parts_that_declare_it():
    vocabulary = Vocabulary([f"w{number}" for number in range(30)], range(60, 30, -1))
    tokens = np.random.default_rng(0).integers(0, 30, 500)
    config = compose_overrides("model=hierarchical", "model/output/classes=clusters", "model.hidden_dim=10")

    def build(**options):
        return build_model(config, build_allocation(config, vocabulary), vocabulary, **options)

    model = build(tokens=tokens)
    assert model.output.num_classes == 6
    with pytest.raises(ValueError, match="which is not available"):
        build()
    loaded = build(initialize=False)  # as when loading a bundle
    loaded.load_state_dict(model.state_dict())
    words = torch.arange(30)[None]
    assert torch.equal(loaded.eval().score(words, words)[0], model.eval().score(words, words)[0])
