"""Which mask is compared with which: names, folders, roles of a split, and what stands for a reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewmask.data.split_file import write_split
from fewmask.errors import DataError, SettingsError
from fewmask.pairing import evaluated, masks_by_name, reference_catalogue
from fewmask.types import Split

SPLIT = Split(labelled=("a:2", "a:5", "b"), unlabelled=("c", "d"), test=("e",))


def save(path: Path, *values: int, noise: bool = False) -> Path:
    """A 16 x 18 picture; its values in equal stripes, or noise, as an image has it."""
    picture = np.resize(np.repeat(np.array(values or (0, 1), np.uint8), 3), (16, 18))
    if noise:
        picture = np.random.default_rng(len(path.name)).integers(0, 256, (16, 18), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)
    return path


def test_masks_are_named_as_a_scan_names_cases(tmp_path):
    top = save(tmp_path / "patient001.frame 01.png")
    deep = save(tmp_path / "seq1" / "sub" / "é.png")
    save(tmp_path / "probabilities" / "seq1.png")
    save(tmp_path / "._hidden.png")
    (tmp_path / "notes.txt").write_text("no mask")
    assert masks_by_name(tmp_path) == {"patient001.frame 01": top, "seq1_sub_é": deep}
    with pytest.raises(DataError, match="no such folder"):
        masks_by_name(tmp_path / "nowhere")


def test_a_run_folder_is_scored_on_its_test_role(tmp_path):
    write_split(SPLIT, tmp_path / "split.json")
    (tmp_path / "predictions").mkdir()
    inside = tmp_path / "predictions"
    assert evaluated(tmp_path, None) == (inside, ("e",), "test")
    assert evaluated(inside, None) == (inside, ("e",), "test")
    assert evaluated(inside, "unlabelled") == (inside, ("c", "d"), "unlabelled")
    assert evaluated(tmp_path, "labelled") == (inside, ("a", "b"), "labelled")


def test_a_role_that_is_not_there_is_refused(tmp_path):
    assert evaluated(tmp_path, None) == (tmp_path, None, "all")
    with pytest.raises(SettingsError, match=r"--split test: no split.json in or beside .*; leave --split out"):
        evaluated(tmp_path, "test")
    write_split(SPLIT, tmp_path / "split.json")
    with pytest.raises(SettingsError, match="no cases in role val; use --split test or --split unlabelled"):
        evaluated(tmp_path, "val")
    with pytest.raises(SettingsError, match="--split tset: no role; did you mean 'test'"):
        evaluated(tmp_path, "tset")


def test_a_data_folder_is_scanned_though_some_of_its_names_are_those_of_predictions(tmp_path):
    """Images beside their masks in one folder: x.png is the image of case x, not its mask."""
    for name in ("x", "y"):
        save(tmp_path / "data" / f"{name}.png", noise=True)
        save(tmp_path / "data" / f"{name}_mask.png")
    found = reference_catalogue(tmp_path / "data", {"x": save(tmp_path / "predictions" / "x.png")})
    assert found.layout != "masks"
    assert found.by_id["x"].label == tmp_path / "data" / "x_mask.png"


def test_a_folder_of_masks_needs_no_image_though_a_prediction_is_missing(tmp_path):
    masks = [save(tmp_path / "truth" / f"{name}.png", 0, 3, 9) for name in "xyz"]
    found = reference_catalogue(tmp_path / "truth", {"x": masks[0]})
    assert (found.layout, found.planar) == ("masks", True)
    assert (found.labels.names, found.labels.values) == (("background", "3", "9"), (0, 3, 9))
    assert sorted(case.id for case in found.cases) == ["x", "y", "z"]


def test_a_folder_of_neither_is_refused(tmp_path):
    save(tmp_path / "truth" / "other.png", noise=True)
    with pytest.raises(DataError):
        reference_catalogue(tmp_path / "truth", {"x": save(tmp_path / "predictions" / "x.png")})
