"""Colour tables for viewers: a line a class, in their own grammar."""

from fewmask.data.colours import class_rgb, slicer_table, snap_labels
from fewmask.types import LabelSet

LABELS = LabelSet(names=("background", "left lung", 'the "vein"'), values=(0, 7, 200))


def test_a_line_a_class() -> None:
    assert slicer_table(LABELS).splitlines()[1:] == [
        "0 background 0 0 0 0",
        "7 left_lung 51 187 238 255",
        '200 the_"vein" 238 119 51 255',
    ]
    lines = snap_labels(LABELS).splitlines()[1:]
    assert [line.split()[:7] for line in lines][1] == ["7", "51", "187", "238", "1", "1", "1"]
    assert [line.split('"')[1] for line in lines] == ["background", "left lung", "the 'vein'"]


def test_colours_stay_apart() -> None:
    assert len({class_rgb(index) for index in range(1, 33)}) == 32
