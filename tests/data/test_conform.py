import numpy as np
import pytest

from fewmask.data import conform
from fewmask.data.cache import Preparation
from fewmask.data.conform import compact, foreground_locations, labelled_only, prepare_image, prepared_geometry
from fewmask.data.grid import Grid
from fewmask.errors import DataError


def test_locations_are_bounded_and_repeatable(monkeypatch):
    monkeypatch.setattr(conform, "LOCATIONS", 7)
    label = np.ones((3, 5, 7), np.uint8)
    first, second = (foreground_locations(label, 3, "a") for _ in range(2))
    assert len(first[1]) == 7 and first[2].shape == (0, 3)
    assert np.array_equal(first[1], second[1])


def test_prepared_grid_keeps_the_extent():
    affine = np.eye(4)[[2, 1, 0, 3]] * [8.0, 1.25, 1.5, 1.0]
    grid = Grid(shape=(6, 17, 23), spacing_mm=(8.0, 1.25, 1.5), affine=affine)
    turn, prepared = prepared_geometry(grid, Preparation(dims=3, spacing_mm=(2.0, 2.0, 2.0)))
    assert prepared.shape == (24, 11, 17)
    oriented = turn.apply_grid(grid)
    for corner in (np.zeros(3), np.ones(3)):  # the outer faces stay where they were, in mm
        before, after = (g.affine @ np.array([*(corner * np.array(g.shape) - 0.5), 1.0]) for g in (oriented, prepared))
        np.testing.assert_allclose(before, after, atol=1e-9)


def test_zoom_acts_with_and_without_spacing():
    grid = Grid(shape=(6, 17, 24), spacing_mm=(2.0, 1.0, 1.0))
    halved = prepared_geometry(grid, Preparation(dims=3, spacing_mm=(1.0, 1.0, 1.0), zoom=0.5))[1]
    assert (halved.shape, halved.spacing_mm[0]) == ((6, 8, 12), 2.0)
    as_it_is = prepared_geometry(Grid(shape=(5, 8, 9)), Preparation(dims=3, zoom=0.5))[1]
    assert (as_it_is.shape, as_it_is.spacing_mm) == ((2, 4, 4), None)


def test_resampling_without_spacing_says_what_to_set():
    with pytest.raises(DataError, match=r"plan\.spacing_mm=null"):
        prepared_geometry(Grid(shape=(4, 5, 6)), Preparation(dims=3, spacing_mm=(1.0, 1.0, 1.0)))


def test_linear_image_stays_linear_when_resized():
    z, y, x = np.meshgrid(*[np.arange(n, dtype=np.float32) for n in (4, 17, 23)], indexing="ij")
    image = (3 * y - 2 * x + 5 * z)[None]
    found, _, grid = prepare_image(image, Grid(shape=(4, 17, 23)), Preparation(dims=2, size=(34, 46)))
    assert found.shape[1:] == grid.shape == (4, 34, 46)
    inner = np.diff(found[0], axis=1)[:, 2:-2, 2:-2]
    np.testing.assert_allclose(inner, 1.5, atol=1e-4)


@pytest.mark.parametrize("offset, factor", [(0, 1), (0, 1e-6), (0, 1e7), (1000, 50), (0, 0)])
def test_compact_keeps_the_contrast_in_half_precision(offset, factor):
    image = (np.random.default_rng(0).normal(size=(1, 3, 17, 23)) * factor + offset).astype(np.float32)
    stored, scale = compact(image)
    assert stored.dtype == np.float16
    np.testing.assert_allclose(stored.astype(np.float32) * np.float32(scale), image, atol=0.01 * factor, rtol=1e-3)


def test_compact_falls_back_where_half_precision_would_lose_it():
    image = (np.random.default_rng(0).normal(size=(1, 3, 17, 23)) + 30000).astype(np.float32)
    stored, scale = compact(image)
    assert stored.dtype == np.float32 and scale == 1


def test_unlabelled_slices_are_ignored():
    label = np.ones((3, 2, 2), np.uint8)
    assert labelled_only(label, None) is label
    assert [int(plane.max()) for plane in labelled_only(label, (0, 2))] == [1, 255, 1]
