"""MOSXAV's folders in small: halves that share names, masks as palette and RGB, frames without masks, lists."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from fewmask.data.cache import Preparation
from fewmask.data.formats import encode_mask, read_mask
from fewmask.data.layouts import find_cases
from fewmask.data.layouts.mosxav import COLOURS
from fewmask.data.prepare import prepare
from fewmask.data.scan import scan
from fewmask.data.splits import choose_split
from fewmask.errors import DataError

SHAPE = (1, 12, 15)
PALETTE = {value: colour for colour, value in COLOURS.items()}


def rgb(files, name: str, values) -> None:
    table = np.array([PALETTE[value] for value in range(6)], np.uint8)
    files.write(name, table[np.resize(np.array(values, np.uint8), SHAPE)])


def palette(files, name: str, values, order=range(6)) -> None:
    """A mode-P picture whose palette holds the classes' colours in `order`."""
    order = list(order)
    picture = Image.fromarray(np.resize(np.array([order.index(v) for v in values], np.uint8), SHAPE)[0], "P")
    picture.putpalette([part for value in order for part in PALETTE[value]])
    picture.save(files.path(name))


def write(files) -> None:
    for half, sequences in {"trainval": {"v00": 3, "v01": 2, "v02": 2, "v03": 2}, "test": {"v00": 2, "v01": 1}}.items():
        for sequence, frames in sequences.items():
            for frame in range(frames):
                files.image(f"{half}/JPEGImages/{sequence}/{frame:05d}.jpg", 3, SHAPE)
            files.mask(f"{half}/Annotations/{sequence}/00000.png", (0, 1, 9), SHAPE)  # objects, of another task
    for sequence in ("v00", "v01", "v03"):
        files.mask(f"trainval/Annotations_Semantic/{sequence}/00000.png", (0, 1, 2, 3, 4), SHAPE)
    palette(files, "trainval/Annotations_Semantic/v00/00002.png", (0, 4, 1))
    rgb(files, "test/Annotations_Semantic/v00/00000.png", (0, 1, 5))
    palette(files, "test/Annotations_Semantic/v00/00001.png", (0, 2, 5))
    rgb(files, "test/Annotations_Semantic/v01/00000.png", (0, 4, 2))
    files.text("trainval/ImageSets/train.txt", "v00\nv02\nv03\n")
    files.text("trainval/ImageSets/val.txt", "v01\n")
    files.text("trainval/ImageSets/val_first_mask.json", "{}")
    files.text("test/ImageSets/test.txt", "v00\nv01\n")
    files.text("trainval/labels.json", "{}")


def test_halves_do_not_collide_and_unmasked_frames_are_cases(files) -> None:
    write(files)
    name, _, found = find_cases(files.root)
    assert name == "mosxav"
    assert len(found.cases) == 12
    assert {case.patient for case in found.cases} == {f"trainval_v0{n}" for n in range(4)} | {"test_v00", "test_v01"}
    assert [case.id for case in found.cases if case.label] == [
        "test_v00_00000",
        "test_v00_00001",
        "test_v01_00000",
        "trainval_v00_00000",
        "trainval_v00_00002",
        "trainval_v01_00000",
        "trainval_v03_00000",
    ]
    assert {role: len(ids) for role, ids in found.lists.items()} == {"train": 7, "val": 2, "test": 3}
    assert found.findings == (
        "trainval: 4 sequences, 9 frames, 4 with a mask",
        "trainval: without any mask, and so unlabelled: trainval_v02",
        "test: 2 sequences, 3 frames, 3 with a mask",
    )


def test_unlabelled_frames_of_labelled_sequences_are_used_and_none_straddles(files) -> None:
    write(files)
    catalogue = scan(files.root, quiet=True)
    split, _ = choose_split(catalogue, None)
    assert set(split.labelled) == {"trainval_v00_00000", "trainval_v00_00002", "trainval_v03_00000"}
    rest = ("v00_00001", "v02_00000", "v02_00001", "v03_00001")
    assert set(split.unlabelled) == {f"trainval_{name}" for name in rest}
    assert split.val == ("trainval_v01_00000",) and len(split.test) == 3
    one, _ = choose_split(catalogue, "1")
    assert {catalogue.by_id[case].patient for case in one.labelled} == {"trainval_v00"}
    assert len(one.unlabelled) == 5  # the masked frame of v03 as well


def test_masks_in_colours_and_palettes_hold_the_same(files) -> None:
    write(files)
    catalogue = scan(files.root, quiet=True)
    assert catalogue.labels.names == ("background", "vessel", "contrast catheter", "catheter", "balloon")
    values = {}
    for case in catalogue.cases:
        if case.label:
            values[case.id] = set(np.unique(read_mask(case.label, colours=catalogue.labels.colours)[0]).tolist())
    assert values["test_v00_00000"] == {0, 1, 5} and values["test_v00_00001"] == {0, 2, 5}
    assert values["test_v01_00000"] == {0, 2, 4} and values["trainval_v00_00002"] == {0, 1, 4}
    raw, _ = read_mask(catalogue.by_id["test_v00_00000"].label, colours=catalogue.labels.colours)
    assert set(np.unique(encode_mask(raw, catalogue.labels, "x")).tolist()) == {0, 1, 255}  # Others: ignored


def test_a_palette_in_another_order_is_read_by_its_colours(files) -> None:
    palette(files, "m.png", (0, 4, 1), order=(4, 0, 1, 2, 3, 5))
    assert set(np.unique(read_mask(files.root / "m.png", colours=COLOURS)[0]).tolist()) == {0, 1, 4}


def test_greys_are_colours_where_they_are_named_and_numbers_elsewhere(files) -> None:
    values = np.resize(np.array((0, 255), np.uint8), SHAPE)
    files.write("m.png", np.repeat(values[..., None], 3, axis=-1))
    for colours, expected in (({(0, 0, 0): 0, (255, 255, 255): 3}, {0, 3}), (COLOURS, {0, 255}), (None, {0, 255})):
        assert set(np.unique(read_mask(files.root / "m.png", colours=colours)[0]).tolist()) == expected


def test_a_strange_colour_is_named_with_its_pixels(files) -> None:
    write(files)
    values = np.zeros((*SHAPE, 3), np.uint8)
    values[0, 0, :3] = (84, 170, 255)
    path = files.write("trainval/Annotations_Semantic/v00/00000.png", values)
    with pytest.raises(DataError) as caught:
        scan(files.root, quiet=True)
    assert f"{path}: 3 pixels of colour (84, 170, 255), which stands for no class" in str(caught.value)


def test_a_strange_number_is_named(files) -> None:
    write(files)
    files.mask("trainval/Annotations_Semantic/v00/00000.png", (0, 1, 9), SHAPE)
    with pytest.raises(DataError, match=r"v00/00000.png: mask value 9 has no name"):
        scan(files.root, quiet=True)


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        ("merge: {5: 0}\nignore: 99\n", {0, 1}),
        ("labels: {background: 0, vessel: 1, cc: 2, catheter: 3, balloon: 4, others: 5}\n", {0, 1, 5}),
    ],
)
def test_others_may_be_background_or_a_class(files, dataset, expected) -> None:
    write(files)
    files.text("dataset.yaml", dataset)
    labels = scan(files.root, quiet=True).labels
    raw, _ = read_mask(files.root / "test/Annotations_Semantic/v00/00000.png", colours=labels.colours)
    assert set(np.unique(encode_mask(raw, labels, "x")).tolist()) == expected


def test_a_sequence_in_two_lists_is_refused(files) -> None:
    write(files)
    files.text("trainval/ImageSets/val.txt", "v01\nv03\n")
    with pytest.raises(DataError, match=r"sequence 'trainval_v03' is both in train.txt and in val.txt"):
        find_cases(files.root)


def test_lists_that_name_what_is_not_there(files) -> None:
    write(files)
    files.text("trainval/ImageSets/train.txt", "v00\nv77\n")
    assert "train.txt: 1 of 2 sequences are not there: trainval_v77" in find_cases(files.root)[2].findings
    files.text("trainval/ImageSets/train.txt", "v77\n")
    with pytest.raises(DataError, match=r"train.txt: none of its 1 sequences is in JPEGImages"):
        find_cases(files.root)


def test_one_half_alone_and_no_lists(files) -> None:
    write(files)
    for name in ("train", "val"):
        (files.root / f"trainval/ImageSets/{name}.txt").unlink()
    (files.root / "test/ImageSets/test.txt").unlink()
    assert {role: len(ids) for role, ids in find_cases(files.root)[2].lists.items()} == {"test": 3}


def test_a_catalogue_of_it_can_be_read_again_and_prepared(files, tmp_path) -> None:
    from fewmask.data.catalogue import read_catalogue, write_catalogue

    write(files)
    catalogue = scan(files.root, quiet=True)
    write_catalogue(catalogue, tmp_path / "catalogue")
    again = read_catalogue(tmp_path / "catalogue")
    assert again.labels == catalogue.labels
    split, _ = choose_split(again, None)
    cache = prepare(again, split, Preparation(dims=2, size=(12, 15), channels=3), tmp_path / "cache", quiet=True)
    assert set(np.unique(cache.open("trainval_v00_00002").label).tolist()) == {0, 1, 4}
    assert cache.open("trainval_v00_00001").label is None
