"""Every option of conf/data composes and instantiates the data module that it names."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from lightrnn_pl.data.archive_corpus import ArchiveCorpus
from lightrnn_pl.data.corpus import TextCorpus
from lightrnn_pl.data.datamodule import CorpusDataModule
from tests.data.archives import BENCHMARK, aclw_files, billionw_files, make_tar, make_zip
from tests.data.file_server import serve

CONF = Path(__file__).parents[2] / "conf" / "data"
ENTRIES = sorted(path.stem for path in CONF.glob("*.yaml") if not path.stem.startswith("_"))
NEEDED = {
    "text": ["data.train=train.txt", "data.valid=valid.txt"],
    "gigaword44m": ["data.train=train.txt", "data.valid=valid.txt"],
    "wmt12": ["data.train=train.txt", "data.valid=valid.txt"],
    "hub": ["data.id=somebody/something"],
    "disk": ["data.path=folder"],
    "archive": ["data.archive=large.zip", "data.train=train.txt", "data.valid=valid.txt"],
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
    without_test = "data.train" in given or entry == "billionw_hub"
    assert module.splits == (["train", "valid"] if without_test else ["train", "valid", "test"])
    assert module.title == {"hub": "hub-somebody/something", "aclw": "aclw_fr"}.get(entry, entry)
    assert module.cache_dir == str(tmp_path)


@pytest.mark.parametrize("entry", ["aclw", "billionw"])
def test_the_folder_of_a_corpus_is_an_environment_variable_or_data_root(entry, tmp_path, monkeypatch):
    monkeypatch.delenv(f"LIGHTRNN_{entry.upper()}", raising=False)
    config = compose_data(tmp_path, entry).data
    assert config.root is None
    assert isinstance(instantiate(config, _convert_="all").corpus, ArchiveCorpus)
    monkeypatch.setenv(f"LIGHTRNN_{entry.upper()}", "from environment")
    assert compose_data(tmp_path, entry).data.root == "from environment"
    config = compose_data(tmp_path, entry, "data.root=folder").data
    corpus = instantiate(config, _convert_="all").corpus
    assert isinstance(corpus, TextCorpus)
    with pytest.raises(
        FileNotFoundError, match=r"folder/.*; set data\.root to the folder of the unpacked archive, or to"
    ):
        corpus.check()


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("entry", ["aclw", "billionw"])
def test_archives_give_the_same_batches_as_unpacked_files(entry, cache, tmp_path, monkeypatch):
    monkeypatch.delenv(f"LIGHTRNN_{entry.upper()}", raising=False)
    files, pack = (aclw_files(), make_zip) if entry == "aclw" else (billionw_files(), make_tar)
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    root = tmp_path / (BENCHMARK if entry == "billionw" else "")
    batches = []
    with serve(files={"/archive": pack(files)}) as server:
        for source in (f"data.root={root}", f"data.archive={server.url}/archive"):
            config = compose_data(tmp_path, entry, source, f"data.cache={cache}", "data.batch_size=2").data
            module = instantiate(config, _convert_="all")
            module.prepare_data()
            module.setup()
            loaders = [module.train_dataloader(), module.val_dataloader(), module.test_dataloader()]
            batches.append([[batch.targets.tolist() for batch in loader] for loader in loaders])
            assert module.vocabulary.words == instantiate(config, _convert_="all").rules.build(counts(module)).words
    assert batches[0] == batches[1]


def counts(module: CorpusDataModule) -> dict[str, int]:
    return dict(zip(module.vocabulary.words, module.vocabulary.counts.tolist(), strict=True))


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
        "ordered": False,
    }
    assert (billionw.expected.tokens, billionw.expected.vocabulary) == (799_000_000, 793_000)
    assert "heldout-00000" in billionw.test
    assert compose_data(tmp_path, "billionw_hub").data.vocabulary == billionw.vocabulary


@pytest.mark.parametrize("language", ACLW)
def test_the_language_of_aclw_selects_files_and_expected_sizes(language, tmp_path):
    config = compose_data(tmp_path, "aclw", f"data.language={language}").data
    assert (config.expected.tokens, config.expected.vocabulary) == ACLW[language]
    assert set(config.languages) == set(ACLW)
    assert config.name == f"aclw_{language}"
    files = [config[split] for split in ("train", "valid", "test")]
    assert files == [f"{language}/{split}.txt" for split in ("train", "valid", "test")]
    module = instantiate(config, _convert_="all")
    assert module.title == config.name and module.expected["tokens"] == ACLW[language][0]


def test_an_unknown_language_is_named(tmp_path):
    config = compose_data(tmp_path, "aclw", "data.language=xx").data
    with pytest.raises(InstantiationException) as error:
        instantiate(config, _convert_="all")
    assert str(error.value.__cause__) == "data.language must be cs, de, en, es, fr or ru, got 'xx'"


def test_rules_can_be_overridden(tmp_path):
    config = compose_data(tmp_path, "text", "data.vocabulary.min_count=2", "data.train=[a.txt,b.txt]")
    module = instantiate(config.data, _convert_="all")
    assert module.rules.min_count == 2
    assert module.corpus.has("valid") and not module.corpus.has("test")
