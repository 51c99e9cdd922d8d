"""ExecuTorch programs, run by its Python runtime, compared with the model in PyTorch."""

import pytest

from lightrnn_pl.export.checks import compare_steps
from lightrnn_pl.export.executorch_writer import ExecuTorchModel, write_executorch
from tests.cases import every
from tests.export.bundles import MODELS, bundle_of

pytest.importorskip("executorch")


@pytest.mark.parametrize("name", every(len(MODELS), sorted(MODELS, key="row word".__ne__)))
def test_scores_and_next_words_equal_those_of_pytorch(name, tmp_path):
    bundle = bundle_of(name)
    metadata = write_executorch(bundle, tmp_path)
    model = ExecuTorchModel(tmp_path)
    assert len(metadata["graphs"]) == len(model.sides)
    difference = compare_steps(bundle, model, range(len(bundle.vocabulary)))
    assert difference.text_words < 1e-5 and difference.all_codes < 1e-5 and abs(difference.perplexity) < 1e-5
    for text in ("the été w3", ""):
        best, _ = model.next_words(text, 1000, unknown=True)
        expected = bundle.next_words(text, len(bundle.vocabulary), unknown=True)
        assert dict(best) == pytest.approx(dict(expected), abs=1e-6)
