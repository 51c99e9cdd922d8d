"""Fine-tuning continues from the weights, words and allocation of a trained model, and reports old and new text."""

import json

import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from pytorch_lightning.utilities import rank_zero_only

from lightrnn_pl.building import instantiate
from lightrnn_pl.checkpoint import load
from lightrnn_pl.commands.train import check_fine_tuning
from lightrnn_pl.evaluation.perplexity import measure_perplexity
from lightrnn_pl.evaluation.text_data import datamodule_for_text
from lightrnn_pl.run_folder import RunFolder
from lightrnn_pl.training.experiment import train
from lightrnn_pl.training.fine_tuning import print_fine_tuning, save_words, use_initial_model
from tests.training.runs import compose_run


@pytest.fixture(scope="module")
def new_text(tmp_path_factory):
    """Sentences in which other words follow, in another order of frequency, and unknown words."""
    folder = tmp_path_factory.mktemp("new")
    files = {}
    for split, lines in (("train", 60), ("valid", 12), ("test", 12)):
        files[split] = folder / f"{split}.txt"
        words = [f"w{(3 * number) % 47:02d} w{number % 5:02d} other w{number % 3:02d}" for number in range(lines)]
        files[split].write_text("\n".join(words) + "\n", encoding="utf-8")
    return files


@pytest.mark.parametrize(
    "overrides",
    [(), ("model=row_word_adaptive", "model.tied=true", "reallocation=none"), ("model=slim", "model.components=1")],
)
def test_continues_from_a_trained_model(overrides, tiny_text, new_text, tmp_path):
    sizes = ("model.embedding.num_parts=2", "model.output.num_parts=2") if "model=slim" in overrides else ()
    train(compose_run(tmp_path / "old", tiny_text, *overrides, *sizes, "trainer.max_steps=3"))
    before = load(tmp_path / "old")
    settings = (f"init_from={tmp_path / 'old'}", "trainer.max_steps=4", "optimizer.lr=0.3", "reallocation=none")
    report = train(compose_run(tmp_path / "new", new_text, *settings))["fine_tuning"]
    after = load(tmp_path / "new")
    assert after.vocabulary.words == before.vocabulary.words and after.config.model.keys() == before.config.model.keys()
    assert torch.equal(after.model.allocation.codes, before.model.allocation.codes)
    cpu = torch.device("cpu")
    for bundle, when in ((before, "before"), (after, "after")):
        for part, files in (("old_text", tiny_text), ("new_text", new_text)):
            loader = datamodule_for_text(bundle, files["test"]).loader_for(bundle.vocabulary, "test")
            expected = measure_perplexity(bundle.model, loader, bundle.vocabulary, cpu).perplexity
            assert report[part]["test"][when] == pytest.approx(expected, rel=1e-5)
    assert report["new_text"]["test"]["after"] < report["new_text"]["test"]["before"]
    metrics = json.loads((tmp_path / "new" / "metrics.json").read_text())
    assert metrics["fine_tuning"] == report


@pytest.fixture(scope="module")
def text_with_new_words(tmp_path_factory):
    """Sentences with twelve words that the model does not have: eight after w01, and four of them only once."""
    folder = tmp_path_factory.mktemp("new_words")
    files = {}
    for split, lines in (("train", 80), ("valid", 12), ("test", 12)):
        files[split] = folder / f"{split}.txt"
        words = [f"w01 n{number % 8} w{number % 5:02d} w{(3 * number) % 47:02d}" for number in range(lines)]
        words += [f"once{number} w01" for number in range(4)] if split == "train" else []
        files[split].write_text("\n".join(words) + "\n", encoding="utf-8")
    return files


@pytest.mark.parametrize(
    ("sides", "larger_sides", "reallocation"),
    [(None, [7, 9], "reallocation.max_rounds=1"), ([4, 16], [4, 16], "reallocation=none")],  # 10 new cells in 7 rows
)
def test_new_words_are_added_and_trained(sides, larger_sides, reallocation, tiny_text, text_with_new_words, tmp_path):
    old = (f"model.sides={sides or 'null'}".replace(" ", ""), "reallocation=none", "trainer.max_steps=30")
    train(compose_run(tmp_path / "old", tiny_text, *old))
    before = load(tmp_path / "old")
    new = (f"init_from={tmp_path / 'old'}", "init_from_new_words=2", "trainer.max_epochs=4", "optimizer.lr=0.3")
    report = train(compose_run(tmp_path / "new", text_with_new_words, *new, reallocation))["fine_tuning"]
    after = load(tmp_path / "new")
    old_words = len(before.vocabulary)
    assert after.vocabulary.words[:old_words] == before.vocabulary.words
    assert set(after.vocabulary.words[old_words:]) == {f"n{number}" for number in range(8)}
    assert report["new_words"]["sides"] == list(after.model.allocation.sides) == larger_sides
    assert report["new_words"]["words"] == 8 and report["new_words"]["min_count"] == 2
    start = load(tmp_path / "new" / "initial_model.ckpt")
    assert torch.equal(start.model.allocation.codes[:old_words], before.model.allocation.codes)
    cpu, text = torch.device("cpu"), text_with_new_words["test"]
    for bundle, when in ((before, "without_new_words"), (start, "before"), (after, "after")):
        loader = datamodule_for_text(bundle, text).loader_for(bundle.vocabulary, "test")
        value = measure_perplexity(bundle.model, loader, bundle.vocabulary, cpu).perplexity
        assert report["new_text"]["test"][when] == pytest.approx(value, rel=1e-5)
    assert report["new_text"]["test"]["after"] < report["new_text"]["test"]["before"]
    assert report["old_text"]["test"].keys() == {"without_new_words", "before", "after"}
    shares = [
        sum(probability for word, probability in bundle.next_words("w01", 60) if word.startswith("n"))
        for bundle in (start, after)
    ]
    assert shares[1] > 1.1 * shares[0]


@pytest.mark.parametrize(
    ("model", "sides"),
    [("model=full", [57]), ("model=row_word_adaptive", [7, 9])],  # 10 new cells in 7 rows
)
def test_new_words_get_vectors_of_their_own(model, sides, tiny_text, text_with_new_words, tmp_path):
    train(compose_run(tmp_path / "old", tiny_text, model, "reallocation=none", "trainer.max_steps=30"))
    before = load(tmp_path / "old")
    new = (f"init_from={tmp_path / 'old'}", "init_from_new_words=2", "trainer.max_epochs=4", "optimizer.lr=0.3")
    report = train(compose_run(tmp_path / "new", text_with_new_words, *new, "reallocation=none"))["fine_tuning"]
    start, after = load(tmp_path / "new" / "initial_model.ckpt"), load(tmp_path / "new")
    number = len(before.vocabulary)
    assert after.vocabulary.words[:number] == before.vocabulary.words and len(after.vocabulary) == number + 8
    assert report["new_words"]["sides"] == list(after.model.allocation.sides) == sides
    assert report["new_text"]["test"]["after"] < report["new_text"]["test"]["before"]
    shares = [
        sum(probability for word, probability in bundle.next_words("w01", 60) if word.startswith("n"))
        for bundle in (start, after)
    ]
    assert shares[1] > 1.1 * shares[0]
    again = train(compose_run(tmp_path / "new", text_with_new_words, *new, "reallocation=none"))
    assert again["fine_tuning"] == report


def test_vectors_stay_with_their_words_if_the_order_by_count_changes(tmp_path):
    """The adaptive softmax stores vectors by rank."""
    files = {"old": {}, "new": {}}
    for name, sign in (("old", 1), ("new", -1)):
        for split, lines in (("train", 80), ("valid", 8), ("test", 8)):
            files[name][split] = tmp_path / f"{name}-{split}.txt"
            words = [f"w{sign * (number % 5) % 40:02d} w{sign * number % 40:02d}" for number in range(lines)]
            files[name][split].write_text("\n".join(words) + "\n")
    train(compose_run(tmp_path / "old", files["old"], "model=adaptive", "reallocation=none", "trainer.max_steps=40"))
    settings = (f"init_from={tmp_path / 'old'}", "trainer.max_steps=1", "optimizer.lr=1e-6", "reallocation=none")
    report = train(compose_run(tmp_path / "new", files["new"], *settings))["fine_tuning"]
    before, after = load(tmp_path / "old"), load(tmp_path / "new")
    assert (before.vocabulary.counts.argsort() != after.vocabulary.counts.argsort()).any()
    for text in ("old_text", "new_text"):
        assert report[text]["test"]["after"] == pytest.approx(report[text]["test"]["before"], rel=1e-3)
    assert after.score(["w01 w07"])[0] == pytest.approx(before.score(["w01 w07"])[0], abs=1e-3)


def test_a_resumed_run_does_not_choose_cells_again(tiny_text, text_with_new_words, tmp_path, monkeypatch):
    train(compose_run(tmp_path / "old", tiny_text, "trainer.max_steps=3"))
    new = (f"init_from={tmp_path / 'old'}", "init_from_new_words=2", "reallocation=none", "trainer.max_steps=1")
    first = train(compose_run(tmp_path / "new", text_with_new_words, *new))
    monkeypatch.setattr("lightrnn_pl.training.new_words.grow_model", None)
    assert train(compose_run(tmp_path / "new", text_with_new_words, *new)) == first
    changed = [override.replace("new_words=2", "new_words=3") for override in new]
    with pytest.raises(ValueError, match=r"different configuration \(init_from_new_words: 2 in the folder\)"):
        train(compose_run(tmp_path / "new", text_with_new_words, *changed))


def test_models_and_texts_without_new_words_are_refused(tiny_text, new_text, tmp_path):
    run = compose_run(tmp_path, tiny_text, "init_from_new_words=2")
    with pytest.raises(ValueError, match="adds words to the model in init_from, which is not set; set it"):
        train(run)
    for name, settings in (("table", ()), ("hashed", ("model=hashed", "reallocation=none"))):
        train(compose_run(tmp_path / name, tiny_text, *settings, "trainer.max_steps=1"))

    def fine_tune(name, files, *settings):
        return train(compose_run(tmp_path / "new", files, f"init_from={tmp_path / name}", *settings))

    with pytest.raises(ValueError, match="HashedEmbedding with HashedOutput cannot get vectors for new words"):
        fine_tune("hashed", new_text, "init_from_new_words=2")
    with pytest.raises(ValueError, match="none of which occurs at least init_from_new_words=99 times; lower init_from"):
        fine_tune("table", new_text, "init_from_new_words=99")
    with pytest.raises(ValueError, match="init_from_new_words must be an integer greater than or equal to 1, got 0"):
        fine_tune("table", new_text, "init_from_new_words=0")


def test_every_process_writes_the_words_that_it_reads(tiny_text, tmp_path, monkeypatch):
    """With torchrun, all processes start at once, and machines may have folders of their own."""
    train(compose_run(tmp_path / "old", tiny_text, "trainer.max_steps=1"))
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    folder, initial = RunFolder(tmp_path / "new"), load(tmp_path / "old")
    config = compose_run(folder.path, tiny_text, f"init_from={tmp_path / 'old'}")
    use_initial_model(config, initial, folder)
    save_words(initial, folder)
    datamodule = instantiate(config.data)
    datamodule.prepare_data()
    datamodule.setup()
    assert datamodule.vocabulary.words == initial.vocabulary.words


def test_words_may_be_reallocated_and_the_old_text_may_be_missing(tiny_text, new_text, tmp_path):
    files = {split: tmp_path / path.name for split, path in tiny_text.items()}
    for split, path in files.items():
        path.write_text(tiny_text[split].read_text())
    train(compose_run(tmp_path / "old", files, "trainer.max_steps=3"))
    for path in files.values():
        path.unlink()
    settings = (f"init_from={tmp_path / 'old'}", "reallocation.max_rounds=2", "reallocation.epochs_per_round=1")
    metrics = train(compose_run(tmp_path / "new", new_text, *settings, "paths.cache_dir=${paths.run_dir}/cache"))
    assert metrics["rounds"][0]["reallocation"]["words_moved"] > 0
    assert metrics["fine_tuning"]["old_text"]["not_measured"]


def test_settings_of_the_model_are_refused(tiny_text, tmp_path):
    config = compose_run(tmp_path, tiny_text, "init_from=runs/a")
    for override in ("model=full", "model.hidden_dim=5", "allocation=random", "data.vocabulary.min_count=2"):
        with pytest.raises(ValueError, match=f"{override} has no effect, because init_from=runs/a determines it"):
            check_fine_tuning(config, ["data=text", override])
    check_fine_tuning(config, ["data=text", "optimizer.lr=1", "reallocation=none"])
    with pytest.raises(FileNotFoundError, match="no checkpoint at nowhere"):
        train(compose_run(tmp_path, tiny_text, "init_from=nowhere"))


def test_the_words_of_a_run_survive_a_refused_command(tiny_text, new_text, tmp_path):
    def fine_tune(name, files, *settings):
        run = compose_run(tmp_path / "new", files, f"init_from={tmp_path / name}", "reallocation=none", *settings)
        return train(run)

    for name, files in (("old", tiny_text), ("other", new_text)):
        train(compose_run(tmp_path / name, files, "trainer.max_steps=1"))
    fine_tune("old", new_text, "trainer.max_steps=1")
    words = (tmp_path / "new" / "initial_vocabulary.txt").read_bytes()
    with pytest.raises(ValueError, match="different configuration"):
        fine_tune("other", new_text, "trainer.max_steps=1")
    assert (tmp_path / "new" / "initial_vocabulary.txt").read_bytes() == words


def test_the_output_names_both_texts_and_warns_if_the_original_model_is_better(capsys, caplog):
    texts = {"old_text": "a/train.txt", "new_text": "b/train.txt"}
    report = {part: {"corpus": "text", "location": location} for part, location in texts.items()}
    report["new_text"]["validation"] = {"before": 376.0, "after": 120.5}
    report["old_text"]["validation"] = {"before": 90.0, "after": 2e57}
    report["init_from"] = "runs/a"
    print_fine_tuning(report)
    output = capsys.readouterr().out
    assert "old text, a/train.txt" in output and "new text, b/train.txt" in output and "2e+57" in output
    assert not caplog.records
    for after, text in ((376.5, "376.50"), (None, "inf")):
        report["new_text"]["validation"]["after"] = after
        print_fine_tuning(report)
        assert f"worse than runs/a on the new text: validation perplexity {text} instead of 376.00" in caplog.text


def test_a_run_is_not_named_after_the_default_model(monkeypatch):
    with initialize_config_module("lightrnn_pl.conf", version_base="1.3"):
        for overrides, name in (([], "lightrnn-text"), (["init_from=runs/a"], "fine-tuned-text")):
            config = compose("train", ["data=text", *overrides], return_hydra_config=True)
            monkeypatch.setattr(HydraConfig.instance(), "cfg", config)
            assert config.name == name and config.hydra.run.dir.startswith(f"outputs/{name}/")
