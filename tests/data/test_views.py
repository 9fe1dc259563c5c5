import numpy as np
import pytest
import torch
from scipy import ndimage

from fewmask.data import views
from fewmask.seeding import generator
from fewmask.types import StrongView, Views, WeakView

PATCHES = [(17, 24), (7, 10, 13)]


def rngs(rows: int, key: int = 0) -> list:
    return [generator(key, row) for row in range(rows)]


def picture(patch, rows=4, channels=2) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    image = torch.randn((rows, channels, *patch), generator=random)
    label = torch.randint(-1, 3, (rows, 1, *patch), generator=random).float()
    return image, label


def maximal(name: str) -> StrongView:
    """A strong view of which one change always acts."""
    return StrongView(**{f"{name}_probability": 1.0})


@pytest.mark.parametrize("patch", PATCHES)
def test_the_default_weak_view_is_the_identity(patch):
    image, label = picture(patch)
    seen, maps, inside = views.weak(image, label, WeakView(), patch, rngs(4))
    torch.testing.assert_close(seen, image, rtol=0, atol=1e-4)
    assert torch.equal(maps, label)
    assert inside.all()


@pytest.mark.parametrize("patch", PATCHES)
def test_mirroring_is_exact_for_odd_and_even_sides_and_equal_for_image_and_label(patch):
    image, label = picture(patch, rows=32)
    axes = tuple(range(len(patch)))
    seen, maps, inside = views.weak(image, label, WeakView(flip=axes), patch, rngs(32))
    assert inside.all()
    found = set()
    for row in range(32):
        flips = [
            [axis for axis in axes if mirrored & 2**axis]
            for mirrored in range(2 ** len(axes))
            if torch.equal(maps[row], label[row].flip([axis + 1 for axis in axes if mirrored & 2**axis]))
        ]
        assert len(flips) == 1
        expected = image[row].flip([axis + 1 for axis in flips[0]])
        torch.testing.assert_close(seen[row], expected, rtol=0, atol=1e-4)
        found.add(tuple(flips[0]))
    assert len(found) == 2 ** len(axes)


def test_only_the_planned_axes_are_mirrored():
    image, label = picture((9, 11), rows=20)
    _, maps, _ = views.weak(image, label, WeakView(flip=(1,)), (9, 11), rngs(20))
    same = [torch.equal(maps[row], label[row]) for row in range(20)]
    mirrored = [torch.equal(maps[row], label[row].flip(2)) for row in range(20)]
    assert all(a != b for a, b in zip(same, mirrored, strict=True)) and any(same) and any(mirrored)


def test_rotation_and_zoom_agree_with_scipy():
    """One row, its matrix recomputed from the same draws, against scipy's affine transform."""
    view = WeakView(rotation=40, rotation_probability=1, scale=(0.8, 1.3), scale_probability=1, shift=0.1)
    patch = (31, 37)
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=patch), 2).astype(np.float32)
    image = torch.from_numpy(smooth)[None, None]
    seen, _, inside = views.weak(image, torch.zeros(1, 1, *patch), view, patch, rngs(1))
    matrix, shift, _ = views._draw_geometry(generator(0, 0), view, patch)
    middle = np.array(patch) // 2
    expected = ndimage.affine_transform(
        smooth, matrix, offset=middle + shift - matrix @ middle, order=1, mode="nearest"
    )
    core = ndimage.binary_erosion(inside[0].numpy(), iterations=2)
    assert core.sum() > 100
    np.testing.assert_allclose(seen[0, 0].numpy()[core], expected[core], atol=1e-3)


def test_what_lies_beyond_the_block_is_not_inside():
    view = WeakView(scale=(0.5, 0.5), scale_probability=1)
    image, label = picture((16, 16))
    _, _, inside = views.weak(image, label, view, (16, 16), rngs(4))
    assert not inside[:, 0].any() and inside[:, 8, 8].all()
    assert 0.2 < inside.float().mean() < 0.4


def test_a_larger_block_fills_the_corners_of_a_rotated_patch():
    view = WeakView(rotation=30, rotation_probability=1, scale=(0.8, 1.2))
    patch = (16, 16, 16)
    block = views.reach(view, patch)
    assert all(b > p for b, p in zip(block, patch, strict=True))
    _, _, inside = views.weak(torch.zeros(8, 1, *block), torch.zeros(8, 1, *block), view, patch, rngs(8))
    assert inside.float().mean() > 0.97
    assert views.reach(WeakView(flip=(0,)), patch) == patch


def test_elastic_moves_points_smoothly_and_by_the_asked_amount():
    view = WeakView(elastic=0.04, elastic_probability=1)
    patch = (64, 64)
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    image = torch.stack([rows, columns])[None].expand(40, -1, -1, -1).contiguous()
    seen, _, _ = views.weak(image, torch.zeros(40, 1, *patch), view, patch, rngs(40))
    moved = (seen - image)[:, :, 8:-8, 8:-8]
    assert 0.3 * 0.04 * 64 < moved.std() < 1.2 * 0.04 * 64
    assert (moved.diff(dim=2).abs().amax()) < 1.0  # no folding


@pytest.mark.parametrize("patch", PATCHES)
def test_a_view_depends_on_its_own_generator_alone(patch):
    image, label = picture(patch)
    weak = WeakView(flip=(0, 1), rotation=30, scale=(0.7, 1.4), shift=0.1, elastic=0.03)
    every = {f"{name}_probability": 0.5 for name in CHANGES}
    whole = views.weak(image, label, weak, patch, rngs(4))
    strong = views.strong(image, StrongView(**every), rngs(4))
    for row in range(4):
        alone = views.weak(image[row : row + 1], label[row : row + 1], weak, patch, [generator(0, row)])
        torch.testing.assert_close(alone[0][0], whole[0][row], rtol=1e-5, atol=1e-5)
        assert torch.equal(alone[1][0], whole[1][row])
        one = views.strong(image[row : row + 1], StrongView(**every), [generator(0, row)])
        torch.testing.assert_close(one[0], strong[row], rtol=1e-5, atol=1e-5)


CHANGES = ["gamma", "contrast", "brightness", "blur", "noise", "low_resolution", "bias_field", "cutout"]


def test_the_changes_tested_are_all_there_are():
    assert {f"{name}_probability" for name in CHANGES} == {
        name for name in StrongView.model_fields if name.endswith("_probability")
    }


@pytest.mark.parametrize("patch", PATCHES)
@pytest.mark.parametrize("name", CHANGES)
def test_every_change_acts_and_leaves_the_input_alone(name, patch):
    image, _ = picture(patch)
    before = image.clone()
    changed = views.strong(image, maximal(name), rngs(4))
    assert torch.equal(image, before)
    assert changed.shape == image.shape and torch.isfinite(changed).all()
    assert all(not torch.equal(changed[row], image[row]) for row in range(4))
    assert torch.equal(views.strong(image, StrongView(), rngs(4)), image)


def test_gamma_keeps_mean_deviation_and_order():
    image, _ = picture((17, 23))
    changed = views.strong(image, maximal("gamma"), rngs(4))
    torch.testing.assert_close(changed.mean((2, 3)), image.mean((2, 3)), atol=1e-4, rtol=0)
    torch.testing.assert_close(changed.std((2, 3)), image.std((2, 3)), atol=1e-4, rtol=0)
    assert torch.equal(changed[0, 0].flatten().argsort(), image[0, 0].flatten().argsort())


def test_contrast_keeps_mean_and_range():
    image, _ = picture((17, 23))
    changed = views.strong(image, maximal("contrast"), rngs(4))
    assert (changed.amax((2, 3)) <= image.amax((2, 3)) + 1e-5).all()
    assert (changed.amin((2, 3)) >= image.amin((2, 3)) - 1e-5).all()


def test_brightness_adds_a_constant_per_channel():
    image, _ = picture((17, 23))
    added = views.strong(image, maximal("brightness"), rngs(4)) - image
    assert added.std((2, 3)).max() < 1e-5
    assert added.mean((2, 3)).unique().numel() == 8


@pytest.mark.parametrize("patch", PATCHES)
def test_blur_agrees_with_scipy(patch):
    image, _ = picture(patch)
    view = StrongView(blur_probability=1, blur=(1.2, 1.2))
    changed = views.strong(image, view, rngs(4))
    radius = 4
    expected = ndimage.gaussian_filter(image[1, 0].numpy(), 1.2, mode="nearest", radius=radius)
    np.testing.assert_allclose(changed[1, 0].numpy(), expected, atol=1e-4)


def test_bias_field_is_smooth_and_positive():
    image = torch.ones(3, 1, 32, 32)
    image[:, :, 0, 0] = 0.0  # the field multiplies what is above the minimum
    field = views.strong(image, maximal("bias_field"), rngs(3))[:, :, 1:, 1:]
    assert (field > 0).all() and field.std() > 0.05
    assert field.diff(dim=2).abs().max() < 0.3


def test_cutout_erases_one_box_with_the_mean():
    image, _ = picture((20, 24))
    changed = views.strong(image, maximal("cutout"), rngs(4))
    for row in range(4):
        erased = (changed[row] != image[row]).any(0)
        rows, columns = erased.any(1).nonzero(), erased.any(0).nonzero()
        box = erased[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert box.float().mean() == 1.0
        assert changed[row][:, erased].unique().numel() == 1


def test_flips_and_rotation_are_the_planned_ones_where_the_method_leaves_them_open():
    open_, own = WeakView(rotation=None, shift=0.1), WeakView(flip=(1,), rotation=5)
    assert views.as_planned(Views(weak=open_), (0,), 40.0).weak == WeakView(flip=(0,), rotation=40, shift=0.1)
    assert views.as_planned(Views(weak=open_), (), 0.0).weak == WeakView(flip=(), rotation=0, shift=0.1)
    assert views.as_planned(Views(weak=own), (0,), 40.0).weak == own
