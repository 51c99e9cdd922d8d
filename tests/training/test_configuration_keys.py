"""Keys of a configuration that nothing reads are refused."""

import pytest

from lightrnn_pl.training.configuration_keys import check_keys
from tests.training.runs import compose_overrides


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+model.foo=1", r"^model.foo is not a valid key, .*; use model.components, .*model.hidden_dim"),
        ("+foo=1", r"^foo is not a valid key"),
        ("+ckpt_path=a.ckpt", r"^ckpt_path is not a valid key"),
        ("+reallocation.foo=1", r"^reallocation.foo is not a valid key, .*; use reallocation.objective"),
        ("+paths.foo=1", r"^paths.foo is not a valid key"),
        ("+sweep.foo=1", r"^sweep.foo is not a valid key"),
        ("+callbacks.foo=1", r"^callbacks.foo=1 must have a _target_"),
        ("~logger", r"^logger is missing from the configuration"),
    ],
)
def test_rejects_keys_without_effect(override, message):
    with pytest.raises(ValueError, match=message) as caught:
        check_keys(compose_overrides(override))
    assert "\n" not in str(caught.value)


def test_accepts_every_key_of_conf():
    for overrides in ([], ["model=hybrid"], ["reallocation=none"], ["model.embedding.embedding_dim=6"]):
        check_keys(compose_overrides(*overrides))
    check_keys(compose_overrides("data.cache_dir=other", "bootstrap.convergence.max_rounds=3"))


def test_accepts_keys_that_others_refer_to():
    check_keys(compose_overrides("+model.width=16", "model.hidden_dim=${model.width}", "+paper.anything=1"))
    check_keys(compose_overrides("+sizes.small=16", "model.hidden_dim=${oc.select:sizes.small,8}"))
    with pytest.raises(ValueError, match="width"):
        check_keys(compose_overrides("+model.width=16"))
