"""Random changes of every kind of file that is read.

Each file is either refused in one line, or gives correct results; no code runs.  About a thousand files are tried.
LIGHTRNN_FUZZ=20 tries twenty times as many, and LIGHTRNN_FUZZ_SEED=1 tries others.
"""

import json
import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from lightrnn_pl import load
from lightrnn_pl.data.corpus import TextCorpus
from lightrnn_pl.data.tokens import open_cache
from lightrnn_pl.export.bundle_writer import write_bundle
from lightrnn_pl.export.onnx_client import OnnxModel
from lightrnn_pl.export.onnx_writer import write_onnx
from lightrnn_pl.ngrams.arpa import read_arpa
from lightrnn_pl.reporting.measurements import find_measurements, measurement_rows
from lightrnn_pl.reporting.report_rows import group_rows
from lightrnn_pl.reporting.run_groups import group_runs
from lightrnn_pl.reporting.runs import find_runs
from lightrnn_pl.reporting.tables import command_table, failure_table, markdown, result_tables, typical_table
from lightrnn_pl.rescoring.feature_layout import FeatureLayout
from lightrnn_pl.rescoring.nbest_lists import MalformedLines, read_nbest
from lightrnn_pl.vocabulary import Vocabulary, VocabularyRules
from tests.export.bundles import MODELS, bundle_of
from tests.reporting.folders import make_run, mixture
from tests.robustness.canary import no_code_runs
from tests.robustness.forged_bundles import content_of, with_fingerprints
from tests.robustness.mutations import mutate, mutated_bytes

FACTOR = int(os.environ.get("LIGHTRNN_FUZZ", "1"))
SEED = int(os.environ.get("LIGHTRNN_FUZZ_SEED", "0"))
TEXT = ["the été w3 w40", ""]
REFUSED, EQUAL = "refused", "equal"


@pytest.fixture
def generator(request) -> np.random.Generator:
    return np.random.default_rng([SEED, zlib.crc32(request.node.name.encode())])


@pytest.fixture(autouse=True)
def tries(record_property):
    """Record the number of files, for ``docs/robustness.py``."""
    outcome.tries = 0
    yield
    record_property("tries", outcome.tries or 60 * FACTOR)


def outcome(read) -> str:
    """``refused`` if ``read`` raises an error in one line; otherwise its result."""
    outcome.tries += 1
    try:
        return read()
    except (ValueError, OSError) as error:
        message = str(error)
        assert message and "\n" not in message and len(message) < 1500, message
        assert "weights_only=False" not in message
        return REFUSED


def load_and_compare(path: Path, expected) -> str:
    bundle = load(path)
    assert bundle.score(TEXT) == expected
    return EQUAL


def count(outcomes: list[str], minimum: int) -> None:
    """Check that files were refused: if all were accepted, the changes would have no effect."""
    assert outcomes.count(REFUSED) >= minimum, {name: outcomes.count(name) for name in set(outcomes)}


@pytest.mark.parametrize("name", ["lightrnn", "slim", "full", "hierarchical", "row word"])
def test_content_of_bundles(name, generator, tmp_path):
    """Most changes do not match a fingerprint; those that do not affect the model give equal scores."""
    expected, content = bundle_of(name).score(TEXT), content_of(bundle_of(name))
    outcomes = []
    for _ in range(60 * FACTOR):
        torch.save(mutate(content, generator), tmp_path / "best.ckpt")
        with no_code_runs():
            outcomes.append(outcome(lambda: load_and_compare(tmp_path / "best.ckpt", expected)))
    count(outcomes, 30)


@pytest.mark.parametrize("name", MODELS)
def test_forged_bundles(name, generator, tmp_path):
    """With matching fingerprints, a bundle is another model, but still refused, or a valid one."""
    content = content_of(bundle_of(name))
    outcomes = []
    for _ in range(15 * FACTOR):
        changed = with_fingerprints(mutate(content, generator))
        torch.save(changed, tmp_path / "best.ckpt")
        with no_code_runs():
            outcomes.append(outcome(lambda: _probabilities_sum_to_one(tmp_path / "best.ckpt")))
    count(outcomes, 3)


def _probabilities_sum_to_one(path: Path) -> str:
    bundle = load(path)
    prediction = bundle.next_words("the", k=len(bundle.vocabulary), unknown=True)
    assert sum(prediction.probabilities) == pytest.approx(1, abs=1e-3)
    return EQUAL


def test_bytes_of_bundles(generator, tmp_path):
    bundle = bundle_of("lightrnn")
    bundle.save(tmp_path / "whole.ckpt")
    data, expected = (tmp_path / "whole.ckpt").read_bytes(), bundle.score(TEXT)
    outcomes = []
    for _ in range(100 * FACTOR):
        (tmp_path / "best.ckpt").write_bytes(mutated_bytes(data, generator))
        with no_code_runs():
            outcomes.append(outcome(lambda: load_and_compare(tmp_path / "best.ckpt", expected)))
    count(outcomes, 60)


@pytest.mark.parametrize("eight_bits", [False, True])
def test_exported_folders(eight_bits, generator, tmp_path):
    pytest.importorskip("safetensors")
    whole = tmp_path / "whole"
    whole.mkdir()
    exported, _ = write_bundle(bundle_of("slim"), whole, eight_bits)
    expected, outcomes = exported.score(TEXT), []
    for folder in damaged_copies(whole, "config.json", generator):
        with no_code_runs():
            outcomes.append(outcome(lambda folder=folder: load_and_compare(folder, expected)))
    count(outcomes, 20)


@pytest.mark.parametrize("name", ["lightrnn", "full"])
def test_onnx_folders(name, generator, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    whole = tmp_path / "whole"
    whole.mkdir()
    write_onnx(bundle_of(name), whole)
    expected, outcomes = [OnnxModel(whole).score(line) for line in TEXT], []

    def read(folder):
        model = OnnxModel(folder)
        assert [model.score(line) for line in TEXT] == expected
        return EQUAL

    for folder in damaged_copies(whole, "metadata.json", generator):
        with no_code_runs():
            outcomes.append(outcome(lambda folder=folder: read(folder)))
    count(outcomes, 20)


def damaged_copies(whole: Path, description: str, generator: np.random.Generator) -> Iterator[Path]:
    """A copy of a folder in which, in turn, the content of the JSON file or the bytes of any data file are changed."""
    folder = whole.with_name("damaged")
    for number in range(60 * FACTOR):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        if number % 2:
            content = mutate(json.loads((folder / description).read_text()), generator)
            (folder / description).write_text(json.dumps(content, default=str))
        else:
            path = folder / str(generator.choice(sorted(file.name for file in whole.iterdir() if file.suffix != ".py")))
            path.write_bytes(mutated_bytes(path.read_bytes(), generator))
        yield folder


def test_token_caches(generator, tmp_path):
    """A damaged cache is built again."""
    rng = np.random.default_rng(0)
    (tmp_path / "train.txt").write_text("\n".join(f"a w{rng.integers(9)} w{rng.integers(9)}" for _ in range(50)))
    corpus, rules = TextCorpus(str(tmp_path / "train.txt")), VocabularyRules()
    cache = open_cache(corpus, rules, tmp_path / "cache")
    expected, lengths = cache.tokens("train").tolist(), cache.lengths("train").tolist()
    words, counts = cache.vocabulary.words, cache.vocabulary.counts.tolist()
    for _ in range(60 * FACTOR):
        path = cache.folder / str(generator.choice(["meta.json", "train.bin", "train.lines", "vocabulary"]))
        path.write_bytes(mutated_bytes(path.read_bytes(), generator))
        again = open_cache(corpus, rules, tmp_path / "cache")
        assert again.tokens("train").tolist() == expected and again.lengths("train").tolist() == lengths
        assert again.vocabulary.words == words and again.vocabulary.counts.tolist() == counts


def test_corpora(generator, tmp_path):
    """A text is refused, or has the same words as when it is read by Python."""
    text = "the cat sat on the mat\nl'été , voilà !\n\n<unk> a\u3000b\n" * 5
    outcomes = []
    for number in range(60 * FACTOR):
        path = tmp_path / f"{number}.txt"
        path.write_bytes(mutated_bytes(text.encode(), generator))

        def read(path=path):
            lines = list(TextCorpus(str(path)).lines("train"))
            expected = path.read_bytes().decode("utf-8-sig").split()
            assert [word for line in lines for word in line] == expected
            return EQUAL

        outcomes.append(outcome(read))
    count(outcomes, 10)


def test_nbest_lists(generator):
    lines = [f"{number // 3} ||| the cat {number} ||| LM0= -{number}.5 D0= 1 2 ||| -0.{number}" for number in range(12)]
    for _ in range(80 * FACTOR):
        data = mutated_bytes("\n".join(lines).encode(), generator)

        def read(data=data):
            malformed = MalformedLines(lambda message: None)
            for group in read_nbest(data.split(b"\n"), malformed, FeatureLayout()):
                for hypothesis in group:
                    assert np.isfinite(hypothesis.score) and hypothesis.line()
            return EQUAL

        outcome(read)


def test_arpa_files(generator, tmp_path):
    arpa = "\\data\\\nngram 1=4\nngram 2=2\n\n\\1-grams:\n-1\t<s>\t-0.5\n-0.4\t</s>\n-0.3\tthe\t-0.2\n-0.9\tcat\t0\n\n"
    arpa += "\\2-grams:\n-0.1\t<s> the\n-0.2\tthe cat\n\n\\end\\\n"
    path, outcomes = tmp_path / "model.arpa", []
    for _ in range(80 * FACTOR):
        path.write_bytes(mutated_bytes(arpa.encode(), generator))

        def read():
            for level in read_arpa(path).levels:
                assert (level.log_probability < 0.01).all() and not np.isnan(level.backoff).any()
            return EQUAL

        outcomes.append(outcome(read))
    count(outcomes, 30)


@pytest.mark.parametrize("name", ["vocabulary.txt", "vocabulary.txt.gz"])
def test_vocabulary_files(name, generator, tmp_path):
    path, outcomes = tmp_path / name, []
    Vocabulary(["the", "<unk>", "été"], [5, 3, 1], unknown="<unk>").save(path)
    data = path.read_bytes()
    for _ in range(60 * FACTOR):
        path.write_bytes(mutated_bytes(data, generator))

        def read():
            vocabulary = Vocabulary.load(path)
            assert len(vocabulary) == len(vocabulary.counts) and (vocabulary.counts >= 0).all()
            return EQUAL

        outcomes.append(outcome(read))
    count(outcomes, 20)


def test_run_folders_in_reports(generator, tmp_path):
    """A damaged run is listed as unreadable or failed, and the other runs are reported."""
    whole = make_run(tmp_path / "whole", seed=1)
    make_run(tmp_path / "other", seed=2)
    metrics, damaged = json.loads((whole / "metrics.json").read_text()), tmp_path / "damaged"
    for number in range(100 * FACTOR):
        shutil.rmtree(damaged, ignore_errors=True)
        shutil.copytree(whole, damaged)
        if number % 2:
            (damaged / "metrics.json").write_text(json.dumps(mutate(metrics, generator), default=str))
        else:
            path = damaged / str(generator.choice(["metrics.json", "config.yaml"]))
            path.write_bytes(mutated_bytes(path.read_bytes(), generator))
        with no_code_runs():
            assert outcome(lambda: _report([tmp_path / "other", damaged])) == EQUAL


def test_measurements_in_reports(generator, tmp_path):
    run = make_run(tmp_path / "run", seed=1)
    sha256 = json.loads((run / "metrics.json").read_text())["checkpoint"]["sha256"]
    content = mixture(sha256, 90.0)
    for _ in range(60 * FACTOR):
        (tmp_path / "run" / "kn.json").write_text(json.dumps(mutate(content, generator), default=str))
        with no_code_runs():
            outcome(lambda: _report([tmp_path / "run"]))


def _report(folders: list[Path]) -> str:
    runs = find_runs(folders)
    groups = group_runs(runs)
    rows = [*group_rows(groups), *measurement_rows(find_measurements(folders), groups)]
    failures = failure_table([(run.path.as_posix(), run) for run in runs])
    for table in (*result_tables(rows), failures, typical_table(groups), command_table(groups)):
        if table is not None:
            assert markdown(table)
    return EQUAL
