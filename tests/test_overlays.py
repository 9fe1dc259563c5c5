"""Overlays: where the tint and the line fall, which way up a patient is, which slices are shown."""

import io

import numpy as np
import pytest
from PIL import Image, ImageColor

from fewmask.figures import class_colour
from fewmask.overlays import case_panels, overlay, slice_pictures, window


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def hue(picture: np.ndarray, index: int) -> np.ndarray:
    """Where a picture of greys has the hue of a class: its distance from grey points the same way."""
    colour = np.array(ImageColor.getrgb(class_colour(index)))
    tint, wanted = picture - picture.mean(-1, keepdims=True), colour - colour.mean()
    length = np.linalg.norm(tint, axis=-1)
    return (length > 15) & (tint @ wanted > 0.95 * length * np.linalg.norm(wanted))


def square(rows: slice, columns: slice, value: int = 1, shape: tuple[int, int] = (17, 23)) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[rows, columns] = value
    return mask


GREY = np.random.default_rng(0).normal(100, 20, (1, 17, 23)).astype(np.float32)


def test_longest_side_and_aspect_ratio():
    assert pixels(overlay(GREY, None, side=92)).shape == (68, 92, 3)
    assert pixels(overlay(GREY, None, side=92, spacing=(2.0, 1.0))).shape == (92, 62, 3)


def test_tint_covers_the_prediction_and_nothing_else():
    drawn = hue(pixels(overlay(GREY, square(slice(4, 12), slice(6, 18), 2), side=230)), 2)
    inside = np.zeros_like(drawn)
    inside[40:120, 60:180] = True
    assert drawn[45:115, 65:175].mean() > 0.98 and not drawn[:35].any() and not drawn[125:].any()
    assert drawn[inside].mean() > 0.95 and drawn[~inside].mean() < 0.01


def test_line_runs_along_the_border_of_the_reference_only():
    drawn = hue(pixels(overlay(GREY, None, reference=square(slice(4, 12), slice(6, 18)), side=230)), 1)
    assert drawn[41, 70:170].all() and drawn[60:100, 61].all()
    assert not drawn[50:110, 70:170].any() and not drawn[:38].any()


def test_classes_of_a_line_and_a_tint_are_told_apart():
    png = overlay(GREY, square(slice(1, 7), slice(2, 21), 1), reference=square(slice(9, 16), slice(2, 21), 3), side=230)
    assert hue(pixels(png), 1)[40, 100] and hue(pixels(png), 3)[91, 100]
    assert not hue(pixels(png), 3)[:80].any() and not hue(pixels(png), 1)[85:].any()


def test_an_image_of_one_value_and_an_empty_mask_can_be_drawn():
    flat = np.full((1, 17, 23), 3.0, np.float32)
    assert (
        np.ptp(pixels(overlay(flat, np.zeros((17, 23), np.uint8), reference=np.zeros((17, 23), np.uint8))), -1) == 0
    ).all()


def test_colour_images_keep_their_colours():
    image = np.zeros((3, 17, 23), np.float32)
    image[1] = 200
    image[:, 0, 0] = 255
    assert window(image) == (0.0, 255.0)
    assert (np.abs(pixels(overlay(image, None, side=46))[30, 30] - [0, 200, 0]) < 8).all()


def test_grey_window_leaves_outliers_out():
    image = np.linspace(0, 100, 1000, dtype=np.float32).reshape(1, 1, 10, 100)
    image[0, 0, 0, 5] = 1e6
    low, high = window(image)
    assert 0 < low < 3 and 97 < high < 101


@pytest.mark.parametrize("names", [("bg", "myocardium", "心筋 <b>"), tuple(f"a long name {i}" for i in range(9))])
def test_legend_is_written_below(names):
    plain, named = (pixels(overlay(GREY, None, given, side=200)) for given in ((), names))
    assert named.shape[0] > plain.shape[0] and named.shape[1] == plain.shape[1]
    below = named[plain.shape[0] :].reshape(-1, 3)
    for index in range(1, len(names)):
        assert (np.abs(below - ImageColor.getrgb(class_colour(index))).max(-1) < 24).any()


def volume(shape: tuple[int, int, int] = (9, 17, 23)) -> tuple[np.ndarray, np.ndarray]:
    image = np.random.default_rng(1).normal(size=(1, *shape)).astype(np.float32)
    mask = np.zeros(shape, np.uint8)
    mask[2:7, 5:9, 12:20] = 1
    return image, mask


def test_three_channels_of_a_volume_are_no_colours():
    image = np.random.default_rng(2).normal(size=(3, 4, 17, 23)).astype(np.float32)
    for panel in case_panels(image, None, stack=True):
        assert (np.ptp(pixels(panel.png), -1) == 0).all()


def test_a_stack_is_shown_by_slices_through_the_object():
    image, mask = volume()
    panels = case_panels(image, mask, stack=True, count=3)
    assert [panel.caption for panel in panels] == [f"slice {index} of 0–8" for index in (2, 4, 6)]
    empty = case_panels(image, np.zeros_like(mask), stack=True, count=3)
    assert [panel.caption for panel in empty] == [f"slice {index} of 0–8" for index in (0, 4, 8)]


def test_slices_and_cut_follow_the_focus_and_not_what_is_drawn():
    image, mask = volume()
    focus = np.zeros(mask.shape, bool)
    focus[5:8, 1:4, 2:6] = True
    of_focus, of_mask = (case_panels(image, mask, stack=True, count=3, focus=given) for given in (focus, None))
    assert [panel.caption for panel in of_focus] == [f"slice {index} of 0–8" for index in (5, 6, 7)]
    bare = case_panels(image, focus.astype(np.uint8), stack=True, count=3)
    assert pixels(of_focus[0].png).shape == pixels(bare[0].png).shape != pixels(of_mask[0].png).shape


def test_a_planar_image_is_one_picture_without_caption():
    image, mask = volume((1, 17, 23))
    (panel,) = case_panels(image, mask, mask, stack=True)
    assert panel.caption == "" and pixels(panel.png).shape == (189, 256, 3)


def test_a_volume_is_shown_in_three_planes_at_one_scale():
    image, mask = volume()
    directions = np.array([[0, 0, 1.0], [0, 1, 0], [1, 0, 0]])  # (superior, anterior, right)
    panels = case_panels(image, mask, stack=False, directions=directions)
    assert [panel.caption.split()[0] for panel in panels] == ["axial", "coronal", "sagittal"]
    heights = [pixels(panel.png).shape[:2] for panel in panels]
    assert abs(heights[1][0] - heights[2][0]) <= 1  # both show the patient's height
    assert abs(heights[0][1] - heights[1][1]) <= 1  # both show the patient's width
    unknown = case_panels(image, mask, stack=False)
    assert unknown[0].caption.startswith("first axis slice")


def test_the_patients_right_is_on_the_left_and_the_front_on_top():
    image, mask = np.zeros((1, 3, 17, 23), np.float32), np.zeros((3, 17, 23), np.uint8)
    mask[1, 12:16, 2:6] = 1  # front and left: the axes run to the patient's front and right
    mask[1, 2:6, 16:20] = 2  # back and right
    directions = np.array([[0, 0, 1.0], [0, 1, 0], [1, 0, 0]])
    for turn in (1, -1):  # turning both the axis and the array changes nothing for the reader
        (panel,) = case_panels(image, mask[:, :, ::turn], stack=True, directions=directions * [1, 1, turn])
        picture = pixels(panel.png)
        front_left, back_right = (np.argwhere(hue(picture, index)).mean(0) for index in (1, 2))
        assert front_left[0] < back_right[0] - 50 and front_left[1] > back_right[1] + 50


def test_the_picture_is_cut_to_the_surroundings_of_what_is_drawn():
    image, mask = np.zeros((1, 1 + 2, 90, 90), np.float32), np.zeros((3, 90, 90), np.uint8)
    mask[1, 10:20, 50:60] = 1
    (panel,) = case_panels(image, mask, stack=True, side=100)
    assert 0.08 < hue(pixels(panel.png), 1).mean() < 0.25  # 10 of 30 voxels a side, less at the edge


def test_slices_of_a_viewer_lead_through_the_masks_and_one_beyond():
    image = np.random.default_rng(0).random((1, 9, 17, 23)).astype(np.float32)
    one, other = np.zeros((2, 9, 17, 23), np.uint8)
    one[3, 4:12, 5:15] = 1
    other[4, 4:12, 5:15] = 2
    indices, pictures, (first, second) = slice_pictures(image, [one, other], spacing=(5.0, 1.0, 1.0), count=9, side=46)
    assert indices == [2, 3, 4, 5]
    assert pictures.shape == (4, 34, 46, 1) and pictures.dtype == np.uint8
    np.testing.assert_array_equal(first[1, ::2, ::2], one[3])
    np.testing.assert_array_equal(second[2, ::2, ::2], other[4])
    assert not first[0].any() and not first[3].any()


def test_a_colour_picture_stays_one_slice_in_colour():
    image = np.zeros((3, 1, 16, 16), np.float32)
    image[0] = 200
    indices, pictures, _ = slice_pictures(image, [np.zeros((1, 16, 16), np.uint8)], side=16)
    assert indices == [0] and pictures.shape == (1, 16, 16, 3)
    assert (pictures[..., 0] > 0).all() and not pictures[..., 1:].any()
