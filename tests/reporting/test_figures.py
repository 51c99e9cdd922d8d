"""The figures of a report: when they are drawn, the points of their curves, and their theme."""

import re
from xml.etree import ElementTree

import pytest

from lightrnn_pl.plotting.style import SERIES
from lightrnn_pl.reporting.figures import CAPTIONS, narrow_variant, write_figures
from lightrnn_pl.reporting.figures.frontier import frontier
from lightrnn_pl.reporting.figures.slim_points import slim_curves
from lightrnn_pl.reporting.run_groups import group_runs
from lightrnn_pl.reporting.runs import find_runs
from tests.reporting.folders import make_run
from tests.reporting.maps import make_run_with_tables

FULL = {
    "embedding": {"_target_": "lightrnn_pl.nn.embeddings.FullEmbedding"},
    "output": {"_target_": "lightrnn_pl.nn.outputs.FullOutput"},
}


def slim(ratio: float, parts: int = 8, both: bool = True, **more) -> dict:
    """The node ``model`` of a slim model."""
    shared = {"num_parts": parts, "compression": 1 / ratio, "num_subvectors": None}
    model = {"embedding": {"_target_": "lightrnn_pl.nn.embeddings.SlimEmbedding", **shared}, "output": FULL["output"]}
    if both:
        model["output"] = {"_target_": "lightrnn_pl.nn.outputs.SlimOutput", **shared}
    return {**model, **more}


def groups_of(folder):
    return group_runs(find_runs([folder]))


def texts(path) -> str:
    return " ".join(ElementTree.parse(path.with_suffix(".svg")).getroot().itertext())


def titles_of(svg) -> list[str]:
    """The texts that are shown on hover."""
    return [title.text for title in ElementTree.parse(svg).iterfind(".//{*}circle[@class='value']/{*}title")]


@pytest.fixture
def sweep(tmp_path):
    """Runs with different ratios and numbers of sub-vectors, and one without sharing."""
    for number, ratio in enumerate((8, 1, 32)):
        for seed in (0, 1):
            make_run(tmp_path / f"both-{ratio}-{seed}", seed, 100.0 + number + seed, model=slim(ratio))
        make_run(tmp_path / f"input-{ratio}", 0, 90.0 + number, model=slim(ratio, both=False))
    make_run(tmp_path / "parts-2", 0, 101.0, model=slim(8, parts=2))
    make_run(tmp_path / "dropout", 0, 99.0, model=slim(64, dropout=0.5))
    make_run(tmp_path / "ne", 0, 88.0, model=FULL)
    return tmp_path


def test_models_of_a_curve_differ_only_in_the_ratio(sweep):
    curves, baselines = slim_curves(groups_of(sweep), "ratio")
    assert set(curves) == {"input and output shared", "input shared"}
    points = curves["input and output shared"]
    assert [point.x for point in points] == [1, 8, 32]
    assert [point.perplexity.mean for point in points] == [101.5, 100.5, 102.5]
    assert all(point.perplexity.n == 2 and point.paper is None for point in points)
    (perplexity,) = baselines.values()
    assert perplexity.mean == 88.0


def test_curves_over_the_number_of_parts(sweep):
    curves, _ = slim_curves(groups_of(sweep), "parts")
    (points,) = curves.values()
    assert [(point.x, point.perplexity.mean) for point in points] == [(2, 101.0), (8, 100.5)]


def test_num_subvectors_determines_the_ratio(tmp_path):
    model = slim(8, both=False)
    model["embedding"] |= {"compression": None, "num_subvectors": 20_000}
    make_run(tmp_path / "0", model=model)
    make_run(tmp_path / "1", model=slim(8, both=False))
    make_run(tmp_path / "2", model=slim(2, both=False))
    curves, _ = slim_curves(groups_of(tmp_path), "ratio")
    (points,) = curves.values()
    assert [point.x for point in points] == [2, 4, 8]  # 8 parts x 10,000 words of 20,000 sub-vectors


@pytest.mark.parametrize("scale", ["paper", "small"])
def test_values_from_the_paper_are_drawn_for_reproductions_only(scale, tmp_path):
    for ratio in (8, 512):
        paper = {"table": "slim_figure2", "row": f"SE 1/{ratio}", "scale": scale}
        make_run(tmp_path / str(ratio), model=slim(ratio, both=False), paper=paper)
    curves, _ = slim_curves(groups_of(tmp_path), "ratio")
    (points,) = curves.values()
    assert [point.paper for point in points] == ([96.30, 103.61] if scale == "paper" else [None, None])
    figure = write_figures(groups_of(tmp_path), tmp_path / "figures")["compression"]
    assert ("values from the paper" in texts(figure)) == (scale == "paper")


def test_models_made_smaller_in_other_ways_are_identified_by_their_row(tmp_path):
    for ratio in (2, 4):
        paper = {"table": "slim_figure4", "row": f"SM 1/{ratio}", "scale": "small"}
        make_run(tmp_path / str(ratio), 0, 100.0 * ratio, model=FULL | {"hidden_dim": 512 // ratio}, paper=paper)
    paper = {"table": "slim_figure4", "row": "NE", "scale": "small"}
    make_run(tmp_path / "ne", 0, 90.0, model=FULL | {"hidden_dim": 512}, paper=paper)
    curves, baselines = slim_curves(groups_of(tmp_path), "ratio")
    assert {name: [(point.x, point.perplexity.mean) for point in points] for name, points in curves.items()} == {
        "SM": [(2, 200.0), (4, 400.0)]
    }
    assert [spread.mean for spread in baselines.values()] == [90.0]


def test_the_pareto_frontier():
    points = [(3, 100), (1, 120), (2, 130), (4, 100), (5, 90), (1, 125)]
    assert frontier(points) == [(1, 120), (3, 100), (5, 90)]


def test_figures_are_drawn_only_if_runs_have_the_data(sweep, tmp_path):
    figures = write_figures(groups_of(sweep), tmp_path / "figures")
    assert set(figures) == {"epochs", "rounds", "compression", "parts"}  # one size and no reallocation
    assert write_figures([], tmp_path / "none") == {} and not (tmp_path / "none").exists()
    make_run_with_tables(sweep / "lightrnn", 0, 150.0)
    make_run(sweep / "larger", 0, 80.0, {"parameters": 900_000}, model=FULL | {"hidden_dim": 900})
    assert set(write_figures(groups_of(sweep), tmp_path / "figures")) == set(CAPTIONS)


def test_figures_follow_the_theme_of_the_page(tmp_path):
    make_run_with_tables(tmp_path / "a", 0, 150.0)
    make_run_with_tables(tmp_path / "b", 0, 120.0, model__hidden_dim=300)
    figures = write_figures(groups_of(tmp_path), tmp_path / "figures")
    ids: list[str] = []
    for name, path in figures.items():
        assert path.read_bytes().startswith(b"\x89PNG")
        svg = path.with_suffix(".svg").read_text(encoding="utf-8")
        for color in SERIES:
            assert color not in svg.replace(f", {color})", "")
        assert "var(--faint, #5f636c)" in svg and "var(--sans" in svg
        root = ElementTree.fromstring(svg)
        assert root.get("viewBox") and not root.get("width") and not root.get("height")
        own_ids = [element.get("id") for element in root.iter() if element.get("id")]
        assert all(own_id.startswith(f"{name}-") for own_id in own_ids)
        ids += own_ids
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg)) <= set(own_ids)
    assert len(ids) == len(set(ids))
    assert "hidden_dim=300" in texts(figures["epochs"])


def test_points_have_their_values_as_titles(tmp_path):
    move = {
        "nll_before": 5.0,
        "nll_predicted": 4.5,
        "nll_measured": 5.25,
        "share_moved": 0.5,
        "gap": 0.01,
        "seconds": 3.0,
    }
    for seed, perplexity in ((0, 120.0), (1, 130.0)):
        rounds = [
            {"round": 1, "valid_perplexity": perplexity, "reallocation": move},
            {"round": 2, "valid_perplexity": 110},
        ]
        history = [{"epoch": number, "round": number, "valid_perplexity": perplexity - number} for number in (1, 2)]
        make_run(tmp_path / str(seed), seed, perplexity, metrics={"rounds": rounds, "history": history})
    make_run(tmp_path / "slim", name="slim", test=1234.5, metrics={"name": "slim", "parameters": 1000}, model=slim(8))
    make_run(tmp_path / "slim-4", name="slim", metrics={"name": "slim"}, model=slim(4))
    groups = groups_of(tmp_path)
    figures = write_figures(groups, tmp_path / "figures")
    expected = {
        "epochs": "lightrnn-ptb, seed 1\nepoch 2, round 2: perplexity 128.00",
        "rounds": "lightrnn-ptb\nround 1: perplexity 125.00 ± 7.07",
        "compression": "input and output shared\nsize 1/8: perplexity 1,234.50",
        "frontier": "\n1,000 parameters: perplexity 1,234.50",
        "reallocation": "lightrnn-ptb\nafter round 1: -0.5000 nats predicted",
    }
    for name, title in expected.items():
        titles = titles_of(figures[name].with_suffix(".svg"))
        assert any(text.endswith(title) for text in titles), (name, titles)
    titles = titles_of(narrow_variant(figures["reallocation"]))
    values = {"-0.5000 nats predicted", "+0.2500 nats measured", "50.0%", "1%", "3.0 s"}
    assert {text.split(": ")[1] for text in titles} >= values


def test_panels_of_the_narrow_variant_are_in_one_column(tmp_path):
    make_run_with_tables(tmp_path / "a", 0, 150.0)
    path = write_figures(groups_of(tmp_path), tmp_path / "figures")["reallocation"]
    lefts = []
    for svg in (path.with_suffix(".svg"), narrow_variant(path)):
        root = ElementTree.parse(svg).getroot()
        panels = [node for node in root.iter() if re.fullmatch(r".*-patch_\d+", node.get("id", ""))]
        starts = [re.match(r"M ([\d.]+)", panel[0].get("d")) for panel in panels]
        lefts.append({round(float(start[1])) for start in starts[1:] if start})
    assert len(lefts[0]) > len(lefts[1])


def test_lines_with_a_repeated_color_are_dashed(tmp_path):
    for number in range(len(SERIES)):
        make_run(tmp_path / str(number), model__hidden_dim=number)
    write_figures(groups_of(tmp_path), tmp_path / "few")
    make_run(tmp_path / "more", model__hidden_dim=99)
    write_figures(groups_of(tmp_path), tmp_path / "many")
    dashed = [(tmp_path / name / "epochs.svg").read_text().count("stroke-dasharray") for name in ("few", "many")]
    assert dashed[0] == 0 < dashed[1]


def test_seeds_of_a_group_differ_in_the_style_of_their_lines(tmp_path):
    make_run(tmp_path / "alone", model__hidden_dim=1)
    for seed in (3, 5):
        make_run(tmp_path / str(seed), seed)
    path = write_figures(groups_of(tmp_path), tmp_path / "figures")["epochs"]
    svg = path.with_suffix(".svg").read_text()
    assert "stroke-dasharray" in svg and "seed 3" in texts(path) and "seed 5" in texts(path)


def test_figures_are_reproducible(tmp_path):
    make_run_with_tables(tmp_path / "a")
    for folder in ("one", "two"):
        write_figures(groups_of(tmp_path / "a"), tmp_path / folder)
    for path in sorted((tmp_path / "one").iterdir()):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
