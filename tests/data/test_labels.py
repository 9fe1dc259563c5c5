"""From raw mask values to classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fewmask.data.labels import MAX_KEPT, resolve_labels, values_of
from fewmask.errors import DataError
from fewmask.types import LabelSet

A, B = Path("m/a.png"), Path("m/b.png")


def test_binary_0_255_is_remapped_and_said() -> None:
    labels, findings = resolve_labels({A: (0, 255), B: (0,)})
    assert labels == LabelSet(names=("background", "class 1"), values=(0, 255))
    assert findings == ("mask values become classes 0 -> 0, 255 -> 1; predictions are written with the values 0, 255",)


def test_gaps_over_all_masks_become_consecutive() -> None:
    labels, findings = resolve_labels({A: (0, 4), B: (0, 1, 2)})
    assert labels == LabelSet(names=("background", "class 1", "class 2", "class 3"), values=(0, 1, 2, 4))
    assert "4 -> 3" in findings[0]


def test_consecutive_values_need_no_words() -> None:
    assert resolve_labels({A: (0, 1, 2)}) == (
        LabelSet(names=("background", "class 1", "class 2"), values=(0, 1, 2)),
        (),
    )


def test_no_masks() -> None:
    assert resolve_labels({}) == (LabelSet(names=("background",), values=(0,)), ())
    labels, _ = resolve_labels({}, {"organ": 1})
    assert labels.names == ("background", "organ")


def test_names_order_by_value_background_first_even_without_masks_that_hold_them() -> None:
    labels, findings = resolve_labels({A: (0, 1)}, {"tumour": 3, "liver": 1, "Background": 0})
    assert labels == LabelSet(names=("Background", "liver", "tumour"), values=(0, 1, 3))
    assert findings[0] == "no mask holds tumour"


def test_background_that_is_not_zero() -> None:
    labels, _ = resolve_labels({A: (1, 2)}, {"vessel": 2, "background": 1})
    assert labels == LabelSet(names=("background", "vessel"), values=(1, 2))


def test_0_255_where_0_1_is_named() -> None:
    labels, findings = resolve_labels({A: (0, 255)}, {"background": 0, "lesion": 1})
    assert labels == LabelSet(names=("background", "lesion"), values=(0, 255))
    assert "255 is 'lesion'" in findings[0]


def test_named_ignore_and_named_255() -> None:
    labels, _ = resolve_labels({A: (0, 1, 2, 255)}, None, ignore=255)
    assert (labels.values, labels.ignore) == ((0, 1, 2), 255)
    labels, _ = resolve_labels({A: (0, 1, 255)}, {"background": 0, "a": 1, "b": 255})
    assert labels.values == (0, 1, 255)


def test_many_named_values() -> None:
    names = {"background": 0, **{f"organ {value}": value for value in range(1, 118)}}
    labels, _ = resolve_labels({A: tuple(range(118))}, names)
    assert len(labels) == 118


def test_no_zero_is_said() -> None:
    labels, findings = resolve_labels({A: (1, 2)})
    assert labels.values == (0, 1, 2)
    assert "no mask holds 0: all of 1, 2 are classes" in findings[0]


@pytest.mark.parametrize(
    ("masks", "names", "ignore", "message"),
    [
        ({A: (0, 1), B: (0, 1, 255)}, None, None, r"b.png: mask value 255 beside 0, 1 .* 'ignore: 255'"),
        ({A: (0, 1), B: (0, 0.5, 1)}, None, None, r"b.png: mask values 0, 0.5, 1 are not whole.*nearest neighbour"),
        ({A: (0, float("nan"))}, None, None, r"a.png: mask values .* are not whole"),
        ({A: (-1, 0, 1)}, None, None, r"a.png: mask value -1 is outside 0 to 65535"),
        ({A: (0, 70000)}, None, None, r"mask value 70000 is outside"),
        ({A: (0, 1), B: tuple(range(40))}, None, None, r"b.png: mask values 0, 1, .*, 38, 39, 40 over all"),
        ({A: (*range(20), *range(236, 256))}, None, None, r"a mask smeared by compression"),
        ({Path("m/c.jpg"): (0, 1, 2, 254, 255)}, None, None, r"c.jpg: .* smeared by JPEG compression; save"),
        ({A: (0, 1), B: (0, 2)}, {"background": 0, "organ": 1}, None, r"b.png: mask value 2 has no name \("),
        ({A: (0, 1)}, {"a": 1, "b": 1}, None, "two classes share a value"),
        ({A: (0, 1)}, {"a": 1}, 1, "value 1 is both a class and ignored"),
        ({A: (0,), B: (0,)}, None, None, r"all 2 masks are empty \(value 0 only\)"),
    ],
)
def test_what_is_ambiguous_is_refused(masks, names, ignore, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        resolve_labels(masks, names, ignore)
    assert "\n" not in str(error.value)


def test_empty_masks_with_names_are_said() -> None:
    _, findings = resolve_labels({A: (0,)}, {"background": 0, "organ": 1})
    assert findings == ("all masks are empty",)


def test_jpeg_with_exact_values_is_fine() -> None:
    assert resolve_labels({Path("c.JPG"): (0, 255)})[0].values == (0, 255)


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int8, np.int16, np.uint16, np.float32, np.float64])
def test_values_of_every_type(dtype) -> None:
    mask = np.zeros((3, 7, 5), dtype)
    mask[1, 2, 3] = 1
    values = values_of(mask)
    assert values == (0, 1)
    assert all(isinstance(value, int) for value in values)


def test_values_are_those_of_unique() -> None:
    mask = np.arange(-60, 45).reshape(3, 7, 5).astype(np.int16)
    assert values_of(mask) == tuple(range(-60, 45))
    assert values_of(mask.astype(np.int8)) == tuple(range(-60, 45))
    assert values_of(np.array([[[0.25, 1.0]]], np.float32)) == (0.25, 1)


def test_an_image_in_place_of_a_mask_does_not_fill_the_memory() -> None:
    noise = np.linspace(0, 1, 3 * MAX_KEPT).reshape(3, -1, 1)
    assert len(values_of(noise)) == MAX_KEPT


def test_nan_is_one_value() -> None:
    mask = np.array([[[0, np.nan]], [[1, np.nan]]], np.float32)
    values = values_of(mask)
    assert len(values) == 3
    with pytest.raises(DataError, match=r"mask values [^,]*, [^,]*, [^,]* are not whole numbers"):
        resolve_labels({Path("a.nii"): values, Path("b.nii"): values_of(mask)})
