"""Resampling between grids: an identity, an analytic ramp, scipy-free nearest neighbour."""

import numpy as np

from fewmask.data.grid import Grid, Orientation
from fewmask.data.resample import coverage, resample_image, resample_mask

OBLIQUE = np.array([[3.9, 0.1, 0.2, -7], [-0.3, 1.4, 0.1, 4], [0.2, -0.1, 0.9, 11], [0, 0, 0, 1]])
GRID = Grid(shape=(5, 9, 7), affine=OBLIQUE)


def ramp(grid: Grid) -> np.ndarray:
    """x + 2 y - z at every voxel, in mm."""
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)
    return (index @ grid.affine[:3, :3].T + grid.affine[:3, 3]) @ [1.0, 2.0, -1.0]


def test_onto_itself_changes_nothing():
    mask = np.random.default_rng(0).integers(0, 5, GRID.shape).astype(np.uint8)
    np.testing.assert_array_equal(resample_mask(mask, GRID, GRID), mask)
    assert coverage(GRID, GRID) == 1


def test_a_turned_grid_is_a_turned_array():
    turn = Orientation(axes=(2, 0, 1), flips=(True, False, True))
    mask = np.random.default_rng(1).integers(0, 5, GRID.shape).astype(np.uint8)
    np.testing.assert_array_equal(resample_mask(mask, GRID, turn.apply_grid(GRID)), turn.apply(mask))


def test_a_linear_image_stays_linear():
    finer = np.diag([0.5, 0.5, 0.5, 1.0])
    finer[:3, 3] = 1
    target = Grid(shape=(5, 9, 7), affine=OBLIQUE @ finer)  # inside the source
    found = resample_image(ramp(GRID)[None], GRID, target)[0]
    np.testing.assert_allclose(found, ramp(target), atol=1e-4)


def test_outside_lies_the_least_value_of_an_image_and_nothing_of_a_mask():
    away = OBLIQUE.copy()
    away[:3, 3] += 1000
    target = Grid(shape=(2, 3, 4), affine=away)
    assert coverage(GRID, target) == 0
    assert (resample_image(np.full((2, *GRID.shape), -4.0), GRID, target) == -4).all()
    assert not resample_mask(np.ones(GRID.shape, np.uint8), GRID, target).any()
