"""Every entry of conf/data composes, and makes the data module it says."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from lightrnn_pl.data.datamodule import CorpusDataModule

CONF = Path(__file__).parents[2] / "conf" / "data"
ENTRIES = sorted(path.stem for path in CONF.glob("*.yaml") if not path.stem.startswith("_"))
NEEDED = {
    "text": ["data.train=train.txt", "data.valid=valid.txt"],
    "gigaword44m": ["data.train=train.txt", "data.valid=valid.txt"],
    "wmt12": ["data.train=train.txt", "data.valid=valid.txt"],
    "hub": ["data.id=somebody/something"],
    "disk": ["data.path=folder"],
    "billionw": ["data.root=folder"],
}


def compose_data(tmp_path: Path, entry: str, *overrides: str):
    if entry.startswith("aclw_"):
        overrides = ("data.root=folder", *overrides)
    with initialize_config_dir(str(CONF.parent), version_base="1.3"):
        return compose(overrides=[f"+data={entry}", f"+paths.cache_dir={tmp_path}", *NEEDED.get(entry, []), *overrides])


@pytest.mark.parametrize("entry", ENTRIES)
def test_instantiates(entry, tmp_path):
    config = compose_data(tmp_path, entry)
    module = instantiate(config.data, _convert_="all")
    assert isinstance(module, CorpusDataModule)
    given = [override.partition("=")[0] for override in NEEDED.get(entry, [])]
    assert module.splits == (["train", "valid"] if "data.train" in given else ["train", "valid", "test"])
    assert module.title == (entry if entry != "hub" else "hub-somebody/something")
    assert module.cache_dir == str(tmp_path)


def test_papers_rules_are_filled_in(tmp_path):
    billionw = compose_data(tmp_path, "billionw").data
    assert OmegaConf.to_container(billionw.vocabulary) == {
        "_target_": "lightrnn_pl.vocabulary.VocabularyRules",
        "min_count": 3,
        "max_size": None,
        "unknown": "<unk>",
        "begin": "<s>",
        "end": "</s>",
        "file": None,
    }
    assert (billionw.expected.tokens, billionw.expected.vocabulary) == (799_000_000, 793_000)
    assert "heldout-00000" in billionw.test
    czech = compose_data(tmp_path, "aclw_cs").data
    assert (czech.expected.tokens, czech.expected.vocabulary) == (17_000_000, 206_000)


def test_rules_can_be_overridden(tmp_path):
    config = compose_data(tmp_path, "text", "data.vocabulary.min_count=2", "data.train=[a.txt,b.txt]")
    module = instantiate(config.data, _convert_="all")
    assert module.rules.min_count == 2
    assert module.corpus.has("valid") and not module.corpus.has("test")
