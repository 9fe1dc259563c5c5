"""Grids, orientation and resizing: identities over all axis orders, and oracles from torch and nibabel."""

import itertools
import json

import nibabel as nib
import numpy as np
import pytest
import torch

from fewmask.data.grid import Grid, Orientation, difference, orientation, resize_image, resize_label

SHAPE, SPACING_MM = (3, 5, 4), (7.0, 1.5, 0.8)
ORDERS = [(axes, signs) for axes in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)]


def turn(degrees: float) -> np.ndarray:
    """Rotation by the same angle about two axes."""
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    first = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    return first @ np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])


def grid_of(axes: tuple[int, ...], signs: tuple[int, ...], degrees: float) -> Grid:
    directions = np.eye(3)[:, list(axes)] * signs
    affine = np.eye(4)
    affine[:3, :3] = turn(degrees) @ directions * SPACING_MM
    affine[:3, 3] = (12.5, -40, 7)
    return Grid(shape=SHAPE, spacing_mm=SPACING_MM, affine=affine)


def indices(shape: tuple[int, ...]) -> np.ndarray:
    """Homogeneous indices of all voxels in C order, (n, 4)."""
    return np.concatenate([np.argwhere(np.ones(shape)), np.ones((np.prod(shape), 1))], axis=1)


@pytest.mark.parametrize("slices", [False, True])
@pytest.mark.parametrize("degrees", [0.0, 20.0])
def test_all_axis_orders_turn_and_return(degrees, slices):
    seen = 0
    for axes, signs in ORDERS:
        grid = grid_of(axes, signs, degrees)
        turned = orientation(grid, slices)
        array = np.arange(2 * np.prod(SHAPE)).reshape(2, *SHAPE)
        oriented = turned.apply(array)
        np.testing.assert_array_equal(turned.undo(oriented), array)
        new = turned.apply_grid(grid)
        assert oriented.shape[1:] == new.shape
        np.testing.assert_allclose(np.linalg.norm(new.affine[:3, :3], axis=0), new.spacing_mm)
        # The same voxel lies at the same place.
        places, native_places = indices(new.shape) @ new.affine.T, indices(SHAPE) @ grid.affine.T
        np.testing.assert_allclose(places, native_places[oriented[0].ravel()], atol=1e-9)
        if slices:
            assert new.spacing_mm[0] == 7
        else:
            assert nib.aff2axcodes(new.affine) == ("S", "A", "R")
        seen += 1
    assert seen == 48


def test_every_order_of_one_volume_becomes_the_same_volume():
    places = set()
    for axes, signs in ORDERS:
        grid = grid_of(axes, signs, 20.0)
        places.add(nib.aff2axcodes(orientation(grid, slices=False).apply_grid(grid).affine))
    assert places == {("S", "A", "R")}


def test_canonical_orientation_is_nibabels():
    for axes, signs in ORDERS:
        grid = grid_of(axes, signs, 20.0)
        volume = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.int16)
        canonical = nib.as_closest_canonical(nib.Nifti1Image(volume.T, grid.affine[:, [2, 1, 0, 3]]))
        turned = orientation(grid, slices=False)
        np.testing.assert_array_equal(turned.apply(volume), np.asarray(canonical.dataobj).T)
        np.testing.assert_allclose(turned.apply_grid(grid).affine[:, [2, 1, 0, 3]], canonical.affine, atol=1e-9)


def test_without_affine_the_stored_order_stays():
    assert orientation(Grid(shape=(10, 5, 4)), slices=True) == Orientation()
    assert orientation(Grid(shape=(1, 5, 4), planar=True), slices=True) == Orientation()


def test_a_single_slice_goes_first_whatever_its_spacing():
    grid = Grid(shape=(5, 1, 4), spacing_mm=(1, 1, 9), affine=np.diag([1, 1, 9, 1]))
    assert orientation(grid, slices=True).apply_grid(grid).shape[0] == 1


def test_a_mild_anisotropy_chooses_no_slices():
    grid = Grid(shape=(5, 6, 4), spacing_mm=(1, 1.4, 1), affine=np.eye(4)[[2, 1, 0, 3]] * [1, 1.4, 1, 1])
    assert orientation(grid, slices=True) == orientation(grid, slices=False)


def test_json_keeps_every_bit():
    grid = grid_of((2, 0, 1), (1, -1, 1), 20.0)
    back = Grid.from_json(json.loads(json.dumps(grid.to_json())))
    assert back == grid
    assert hash(back) == hash(grid)
    np.testing.assert_array_equal(back.affine, grid.affine)
    turned = orientation(grid, slices=True)
    assert Orientation.from_json(json.loads(json.dumps(turned.to_json()))) == turned
    assert Grid.from_json(Grid(shape=SHAPE).to_json()) == Grid(shape=SHAPE)


def test_an_affine_cannot_be_changed_from_outside():
    affine = np.eye(4)
    grid = Grid(shape=SHAPE, affine=affine)
    affine[0, 0] = 5
    assert grid.affine[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 0] = 5


def test_difference_names_what_differs():
    grid = grid_of((0, 1, 2), (1, 1, 1), 20.0)
    assert difference(grid, grid) == ""
    assert difference(grid, Grid(shape=SHAPE)) == ""  # nothing to compare with
    assert difference(grid, Grid(shape=(3, 5, 5))) == "shape (3, 5, 4) and (3, 5, 5)"
    assert "spacing" in difference(grid, Grid(shape=SHAPE, spacing_mm=(7, 1.5, 1)))
    for moved, expected in ((0.01, ""), (0.5, "position or direction, by up to 0.5 mm")):
        affine = grid.affine.copy()
        affine[1, 3] += moved
        assert difference(grid, Grid(shape=SHAPE, spacing_mm=SPACING_MM, affine=affine)) == expected


def test_resizing_slices_is_torchs_antialiased_bilinear():
    image = np.random.default_rng(0).normal(size=(2, 3, 23, 17)).astype(np.float32)
    for size in ((11, 9), (40, 31), (11, 31), (23, 9)):
        expected = torch.nn.functional.interpolate(
            torch.from_numpy(image).reshape(6, 1, 23, 17), size, mode="bilinear", align_corners=False, antialias=True
        )
        resized = resize_image(image, (3, *size))
        assert resized.dtype == np.float32
        np.testing.assert_allclose(resized, expected.reshape(2, 3, *size).numpy(), atol=1e-5)


def test_enlarging_volumes_is_torchs_trilinear():
    image = np.random.default_rng(0).normal(size=(2, 5, 7, 6)).astype(np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(image)[None], (9, 8, 17), mode="trilinear", align_corners=False
    )[0].numpy()
    np.testing.assert_allclose(resize_image(image, (9, 8, 17)), expected, atol=1e-5)


def test_resizing_to_the_same_shape_changes_nothing():
    image = np.random.default_rng(0).normal(size=(1, 3, 5, 4)).astype(np.float32)
    assert resize_image(image, (3, 5, 4)) is image
    label = np.arange(60, dtype=np.uint16).reshape(3, 5, 4)
    assert resize_label(label, (3, 5, 4)) is label


def test_slices_do_not_mix():
    image = np.zeros((1, 3, 8, 8), np.float32)
    image[0, 1] = 1
    np.testing.assert_array_equal(resize_image(image, (3, 5, 5))[0, :, 2, 2], [0, 1, 0])


def test_labels_resize_to_the_nearest_voxel():
    label = np.random.default_rng(0).integers(0, 7, (5, 8, 6)).astype(np.uint16)
    for shape in ((5, 3, 13), (9, 8, 4), (2, 3, 3)):
        expected = torch.nn.functional.interpolate(
            torch.from_numpy(label.astype(np.float32))[None, None], shape, mode="nearest-exact"
        )[0, 0].numpy()
        resized = resize_label(label, shape)
        assert resized.dtype == np.uint16
        np.testing.assert_array_equal(resized, expected)
