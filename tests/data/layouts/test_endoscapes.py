"""Endoscapes' folders in small: masks in one folder, three equal channels, 255, a stray 7, COCO lists, float videos."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fewmask.data.formats import encode_mask, read_mask
from fewmask.data.layouts import find_cases
from fewmask.data.scan import scan
from fewmask.data.splits import choose_split
from fewmask.errors import DataError

SHAPE = (1, 9, 13)
SEG = {"train": ("1_100", "1_200", "2_100"), "val": ("121_50",), "test": ("162_10", "162_20")}


def coco(files, folder: str, names) -> None:
    images = [{"id": number, "file_name": f"{name}.jpg"} for number, name in enumerate(names)]
    files.text(f"{folder}/annotation_coco.json", json.dumps({"images": images, "annotations": [], "categories": []}))


def write(files) -> None:
    for role, names in SEG.items():
        for name in names:
            files.image(f"{role}_seg/{name}.jpg", 3, SHAPE)
            values = np.resize(np.array((0, 5, 6, 255), np.uint8), SHAPE)
            files.write(f"semseg/{name}.png", np.repeat(values[..., None], 3, axis=-1))
        coco(files, f"{role}_seg", names)
        videos = sorted({int(name.split("_")[0]) for name in names})
        files.text(f"{role}_seg_vids.txt", "".join(f"{video:.18e}\n" for video in videos))
    for name in ("1_100", "1_125", "2_125", "3_100"):
        files.image(f"train/{name}.jpg", 3, SHAPE)
    for name in ("1_125", "2_150"):
        files.image(f"25/train_2/{name}.jpg", 3, SHAPE)
    for name in ("121_75", "162_30"):
        files.image(f"{'val' if name[1] == '2' else 'test'}/{name}.jpg", 3, SHAPE)
    files.text("seg_label_map.txt", "{}")
    files.text("all_metadata.csv", "vid,frame\n")


def test_frames_masks_lists_and_the_pool(files) -> None:
    write(files)
    name, _, found = find_cases(files.root)
    assert name == "endoscapes"
    labelled = {case.id: case.patient for case in found.cases if case.label}
    assert labelled == {name: name.split("_")[0] for names in SEG.values() for name in names}
    assert {case.id for case in found.cases if not case.label} == {"1_125", "2_125", "2_150"}
    assert dict(found.lists) == SEG
    assert "unlabelled frames of training videos: 3" in found.findings
    assert any("frames of 1 training videos without masks are left out" in finding for finding in found.findings)
    assert not any("vids.txt" in finding for finding in found.findings)  # 1.85e+02 is 185


def test_the_pool_may_be_all_training_videos(files) -> None:
    write(files)
    _, _, found = find_cases(files.root, "endoscapes_all")
    assert {case.id for case in found.cases if not case.label} == {"1_125", "2_125", "2_150", "3_100"}


def test_videos_keep_their_roles(files) -> None:
    write(files)
    catalogue = scan(files.root, quiet=True)
    split, _ = choose_split(catalogue, "1")
    assert set(split.labelled) == {"1_100", "1_200"}
    assert set(split.unlabelled) == {"1_125", "2_100", "2_125", "2_150"}
    assert split.val == ("121_50",) and set(split.test) == {"162_10", "162_20"}


def test_masks_are_numbers_255_is_ignored_and_the_stray_7_too(files) -> None:
    write(files)
    values = np.resize(np.array((0, 4, 7), np.uint8), SHAPE)
    files.write("semseg/121_50.png", np.repeat(values[..., None], 3, axis=-1))
    catalogue = scan(files.root, quiet=True)
    assert (catalogue.labels.ignore, len(catalogue.labels)) == (255, 7)
    assert "value 7 is ignored: in 1 masks, first 121_50.png" in catalogue.findings
    for name, expected in (("1_100", {0, 5, 6, 255}), ("121_50", {0, 4, 255})):
        raw, _ = read_mask(catalogue.by_id[name].label)
        assert set(np.unique(encode_mask(raw, catalogue.labels, name)).tolist()) == expected


def test_what_lists_and_folders_disagree_on_is_told(files) -> None:
    write(files)
    coco(files, "train_seg", ("1_100", "2_100", "9_100"))
    files.text("train_seg_vids.txt", "1.0e+00\n9.0e+00\n")
    files.mask("semseg/77_1.png", (0, 1), SHAPE)
    findings = find_cases(files.root)[2].findings
    assert "train_seg/annotation_coco.json: 1 of 3 frames are not there: 9_100" in findings
    assert "train_seg: 1 frames are not in annotation_coco.json and are left out: 1_200" in findings
    assert "train_seg_vids.txt and the frames differ in videos 2, 9" in findings
    assert "semseg: 2 masks have no frame and are left out: 1_200, 77_1" in findings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda files: files.image("val_seg/1_300.jpg", 3, SHAPE), None),  # not in the COCO list: left out
        (
            lambda files: (coco(files, "val_seg", ["1_9"]), files.image("val_seg/1_9.jpg", 3, SHAPE)),
            "sequence '1' is both",
        ),
        (lambda files: files.text("train_seg/annotation_coco.json", "{]"), "no COCO list of images"),
        (lambda files: files.text("train_seg/annotation_coco.json", "{}"), "no COCO list of images"),
        (lambda files: files.text("train_seg_vids.txt", "one\n"), "'one' is no number of a video"),
        (lambda files: files.image("train/frame7.jpg", 3, SHAPE), "expected a name like 12_34500.jpg"),
        (lambda files: files.image("train/121_60.jpg", 3, SHAPE), "video 121 has frames in val_seg or test_seg"),
    ],
)
def test_what_cannot_be_meant_is_refused(files, change, message) -> None:
    write(files)
    change(files)
    if message is None:
        assert "1_300" not in {case.id for case in find_cases(files.root)[2].cases}
        return
    with pytest.raises(DataError, match=message) as caught:
        find_cases(files.root)
    assert "\n" not in str(caught.value)
