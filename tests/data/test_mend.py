"""Mending a mask: what is plain is done and said, what is not is refused."""

import numpy as np
import pytest

from fewmask.data.grid import Grid, Orientation
from fewmask.data.mend import placed, renumbered, valued
from fewmask.errors import DataError

AFFINE = np.diag([4.0, 1.5, 1.25, 1.0])
GRID = Grid(shape=(4, 8, 6), spacing_mm=(4, 1.5, 1.25), affine=AFFINE)
MASK = np.zeros(GRID.shape, np.uint8)
MASK[1:3, 2:6, 1:4] = 2


def test_a_mask_in_place_stays() -> None:
    assert placed(MASK, GRID, GRID) == (MASK, "")
    assert valued(MASK, False, False) == (MASK, "")


def test_a_mask_on_another_grid_is_resampled() -> None:
    finer = Grid(shape=(8, 8, 6), spacing_mm=(2, 1.5, 1.25), affine=AFFINE @ np.diag([0.5, 1, 1, 1]))
    moved, told = placed(np.repeat(MASK, 2, axis=0), finer, GRID)
    assert "resampled onto the image" in told
    assert np.mean(moved == MASK) > 0.9
    turn = Orientation(axes=(2, 0, 1), flips=(True, False, False))
    moved, _ = placed(turn.apply(MASK), turn.apply_grid(GRID), GRID)
    np.testing.assert_array_equal(moved, MASK)


def test_a_mask_whose_header_is_nonsense_takes_the_place_of_the_image() -> None:
    away = AFFINE.copy()
    away[:3, 3] = 1e4
    moved, told = placed(MASK, Grid(shape=GRID.shape, affine=away), GRID)
    np.testing.assert_array_equal(moved, MASK)
    assert "its own place was dropped" in told and "look at it" in told


def test_a_mask_of_another_shape_without_a_place_is_refused() -> None:
    with pytest.raises(DataError, match="does not say where it lies"):
        placed(MASK[:2], Grid(shape=(2, 8, 6)), GRID)


def test_smeared_masks_are_cut_in_the_middle() -> None:
    smeared = np.where(MASK > 0, 255.0, 0.0)
    smeared[0, 0, :4] = [3, 9, 250, 140]
    found, told = valued(smeared.astype(np.uint8), False, True)
    assert set(np.unique(found)) == {0, 255} and "cut at 128" in told
    assert found[0, 0, :4].tolist() == [0, 0, 255, 255]


def test_fractions_are_cut_in_half_and_leavings_take_a_neighbours_value() -> None:
    found, told = valued(np.array([[[0, 0.2, 0.5, 1.0]]]), False, False)
    assert found.tolist() == [[[0, 0, 1, 1]]] and "one half" in told
    blurred = MASK.astype(np.float64)
    blurred[1, 2, 0] = 1.2
    found, told = valued(blurred, False, False)
    assert told == "interpolated voxels took the value of the nearest whole one: 1"
    assert found[1, 2, 0] in (0, 2)  # and never 1, which no neighbour has


@pytest.mark.parametrize(
    "values, message",
    [
        ([-3, 0, 1], "holds -3"),
        ([np.nan, 0, 1], "NaN"),
        (list(range(200)), "200 values from 0 to 199"),
        ([0.5, 7.3], "cannot"),
    ],
)
def test_what_is_no_mask(values, message) -> None:
    with pytest.raises(DataError, match=message):
        valued(np.array(values, np.float64).reshape(1, 1, -1), False, False)


def test_one_value_for_each_name() -> None:
    common = {"liver": 1}
    found, told = renumbered(np.array([[[0, 1, 2]]]), {"spleen": 1, "liver": 2}, common)
    assert common == {"liver": 1, "spleen": 2}
    assert found.tolist() == [[[0, 2, 1]]]
    assert told == "other values than elsewhere: set by name, spleen 1 -> 2, liver 2 -> 1"
    assert renumbered(found, {"liver": 1, "spleen": 2}, common)[1] == ""
