"""Feature values and weights use the same columns, and weights are read from all supported formats."""

import numpy as np
import pytest

from lightrnn_pl.rescoring.feature_layout import FeatureLayout, read_weights


def test_values_and_weights_use_the_same_columns():
    layout = FeatureLayout({"A": 2, "B": 1, "C": 1})
    rows = [{"A": (1.0, 2.0), "B": (3.0,)}, {"C": (4.0,), "A": (5.0, 6.0), "unknown": (7.0,)}]
    assert layout.matrix(rows).tolist() == [[1, 2, 3, 0], [5, 6, 0, 4]]
    weights = layout.vector({"C": 0.5, "A": [1, -1], "of another list": 9})
    assert weights.tolist() == [1, -1, 0, 0.5]
    assert layout.by_name(weights) == {"A": [1, -1], "B": [0], "C": [0.5]}
    for invalid in ([1], "many", [1, np.nan], None):
        with pytest.raises(ValueError, match="feature 'A'"):
            layout.vector({"A": invalid})
    layout.check_features(rows[0])
    with pytest.raises(ValueError, match="feature 'A' has 1 values, but 2 in other lines"):
        layout.check_features({"A": (1.0,)})


def test_reads_weights_from_all_formats(tmp_path):
    (tmp_path / "moses.ini").write_text("[feature]\nKENLM name=LM0 order=5\n[weight]\nLM0= 0.5\nTM0= 0.1 0.2\n")
    (tmp_path / "w.json").write_text('{"LM0": 0.5, "TM0": [0.1, 0.2]}')
    expected = {"LM0": [0.5], "TM0": [0.1, 0.2]}
    assert read_weights(str(tmp_path / "moses.ini")) == expected
    layout = FeatureLayout({"LM0": 1, "TM0": 2})
    for source in (str(tmp_path / "w.json"), {"LM0": 0.5, "TM0": [0.1, 0.2]}):
        assert layout.by_name(layout.vector(read_weights(source))) == expected
    for name, content, reason in (
        ("a.json", "[1]", "must contain an object"),
        ("b.json", "{", "is not valid JSON"),
        ("c.txt", "nothing here\n", "contains no line such as"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(ValueError, match=reason):
            read_weights(str(tmp_path / name))
