"""Every option of conf/data composes and instantiates the data module that it names."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationKeyError

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
    "aclw": ["data.root=folder"],
}
ACLW = {  # LightRNN, Table 1
    "cs": (17_000_000, 206_000),
    "de": (51_000_000, 339_000),
    "en": (20_000_000, 60_000),
    "es": (56_000_000, 152_000),
    "fr": (57_000_000, 137_000),
    "ru": (25_000_000, 497_000),
}


def compose_data(tmp_path: Path, entry: str, *overrides: str):
    with initialize_config_dir(str(CONF.parent), version_base="1.3"):
        return compose(overrides=[f"+data={entry}", f"+paths.cache_dir={tmp_path}", *NEEDED.get(entry, []), *overrides])


@pytest.mark.parametrize("entry", ENTRIES)
def test_instantiates(entry, tmp_path):
    config = compose_data(tmp_path, entry)
    module = instantiate(config.data, _convert_="all")
    assert isinstance(module, CorpusDataModule)
    given = [override.partition("=")[0] for override in NEEDED.get(entry, [])]
    assert module.splits == (["train", "valid"] if "data.train" in given else ["train", "valid", "test"])
    assert module.title == {"hub": "hub-somebody/something", "aclw": "aclw_fr"}.get(entry, entry)
    assert module.cache_dir == str(tmp_path)


@pytest.mark.parametrize("entry", ["aclw", "billionw"])
def test_the_folder_of_a_corpus_is_an_environment_variable_or_data_root(entry, tmp_path, monkeypatch):
    monkeypatch.delenv(f"LIGHTRNN_{entry.upper()}", raising=False)
    with initialize_config_dir(str(CONF.parent), version_base="1.3"):
        config = compose(overrides=[f"+data={entry}"])
    assert config.data.root is None
    monkeypatch.setenv(f"LIGHTRNN_{entry.upper()}", "from environment")
    assert config.data.root == "from environment"
    assert compose_data(tmp_path, entry).data.root == "folder"


def test_the_rules_of_the_papers_are_configured(tmp_path):
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


@pytest.mark.parametrize("language", ACLW)
def test_the_language_of_aclw_selects_files_and_expected_sizes(language, tmp_path):
    config = compose_data(tmp_path, "aclw", f"data.language={language}").data
    assert (config.expected.tokens, config.expected.vocabulary) == ACLW[language]
    assert set(config.expected.by_language) == set(ACLW)
    assert config.name == f"aclw_{language}"
    files = [config[split] for split in ("train", "valid", "test")]
    assert files == [f"{language}/{split}.txt" for split in ("train", "valid", "test")]
    module = instantiate(config, _convert_="all")
    assert module.title == config.name and module.expected["tokens"] == ACLW[language][0]


def test_an_unknown_language_is_named(tmp_path):
    with pytest.raises(InterpolationKeyError, match="xx"):
        OmegaConf.to_container(compose_data(tmp_path, "aclw", "data.language=xx"), resolve=True)


def test_rules_can_be_overridden(tmp_path):
    config = compose_data(tmp_path, "text", "data.vocabulary.min_count=2", "data.train=[a.txt,b.txt]")
    module = instantiate(config.data, _convert_="all")
    assert module.rules.min_count == 2
    assert module.corpus.has("valid") and not module.corpus.has("test")
