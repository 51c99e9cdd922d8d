"""Plots of an allocation."""

import io

import numpy as np
import pytest
from PIL import Image

from lightrnn_pl.plotting.style import SCALE
from lightrnn_pl.training.tracking.allocation_plots import draw_frequency, draw_reallocations, grid


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def test_values_are_placed_in_the_cells_of_their_words():
    cells = grid(np.array([7, 8, 9]), np.array([[1, 0], [0, 1], [0, 0]]), (2, 2))
    np.testing.assert_array_equal(cells, [[9, 8], [7, np.nan]])


def test_three_axes_are_flattened_into_two():
    cells = grid(np.array([7, 8]), np.array([[1, 0, 1], [0, 1, 0]], dtype=np.uint8), (2, 2, 2))
    np.testing.assert_array_equal(cells, [[np.nan, np.nan, 8, np.nan], [np.nan, 7, np.nan, np.nan]])


@pytest.mark.parametrize("side", [2, 20, 300])
def test_changing_a_cell_changes_the_plot(side):
    counts = np.random.default_rng(0).integers(1, 1000, (side, side)).astype(float)
    before = pixels(draw_frequency(counts, "a"))
    counts[side // 2, side // 3] = np.nan
    assert (before != pixels(draw_frequency(counts, "a"))).any()
    assert before.shape[0] > 2 * side, "a cell is smaller than a pixel"


def test_counts_of_zero_and_empty_cells_are_drawn():
    cells = np.array([[0.0, 5.0], [np.nan, 100.0]])
    image = pixels(draw_frequency(cells, "a"))
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 3
    assert (pixels(draw_frequency(np.nan_to_num(cells), "a")) != image).any()


def test_colors_are_those_of_the_report():
    cells = np.array([[0.5, 1000.0], [1000.0, 0.5]])
    image = pixels(draw_frequency(cells, "a"))
    height, width = image.shape[0], image.shape[1]
    colors = {"#{:02x}{:02x}{:02x}".format(*image[height // 4, column]) for column in (width // 4, width // 2)}
    assert colors == {SCALE[0], SCALE[-1]}


def test_each_round_has_a_different_color():
    colors = []
    for number in (1, 2, 3):
        image = pixels(draw_reallocations(np.full((4, 4), float(number)), 3, "a"))
        middle = image[image.shape[0] // 2, image.shape[1] // 3]
        colors.append(tuple(middle))
    assert len(set(colors)) == 3
    assert draw_reallocations(np.ones((2, 2)), 1, "a")[1:4] == b"PNG"
