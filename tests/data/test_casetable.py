"""Catalogue folders: written, read, and written by hand."""

from __future__ import annotations

import os

import pytest
import yaml

from fewmask.data.casetable import Catalogue, read_catalogue, write_catalogue
from fewmask.data.scan import scan
from fewmask.errors import DataError
from fewmask.types import Case, LabelSet


def test_what_is_written_is_read(files, tmp_path) -> None:
    for name in ("patient1_frame1", "patient1_frame2", "bö, 3"):
        files.image(f"images/{name}.png", channels=3)
        files.mask(f"masks/{name}.png", (0, 255, 7) if name == "bö, 3" else (0, 7))
    files.text("dataset.yaml", "name: ÄÖ\nignore: 255\nlists: {test: [patient1_frame1]}\n")
    catalogue = scan(files.root)
    assert catalogue.labels.ignore == 255
    write_catalogue(catalogue, tmp_path / "out" / "catalogue")
    assert read_catalogue(tmp_path / "out" / "catalogue") == catalogue
    assert sorted(os.listdir(tmp_path / "out" / "catalogue")) == ["cases.csv", "dataset.yaml"]


def test_paths_are_relative_so_that_both_can_move(files, tmp_path) -> None:
    files.image("images/a.png")
    files.mask("masks/a.png")
    write_catalogue(scan(files.root), files.root / "catalogue")
    assert "../images/a.png,../masks/a.png" in (files.root / "catalogue" / "cases.csv").read_text()
    files.root.rename(tmp_path / "moved")
    (case,) = read_catalogue(tmp_path / "moved" / "catalogue").cases
    assert case.images == (tmp_path / "moved" / "images" / "a.png",)


def test_reading_neither_opens_nor_wants_masks(files, tmp_path) -> None:
    files.image("images/a.png")
    files.mask("masks/a.png")
    catalogue = scan(files.root)
    write_catalogue(catalogue, tmp_path / "catalogue")
    files.path("masks/a.png").unlink()
    assert read_catalogue(tmp_path / "catalogue") == catalogue


@pytest.mark.parametrize(
    ("cases", "dataset", "message"),
    [
        ("case,label\na,b\n", "labels: [background, a]", r"no column 'images'"),
        ("image\na.png\n", "labels: [background, a]", r"unknown column 'image'; did you mean 'images'\?"),
        ("images\n", "labels: [background, a]", r"no cases; write one row a case"),
        ("images\nscans/z.nii.gz\n", "labels: [background, a]", r"cases.csv line 2: .*z.nii.gz is not there"),
        ("case,images\nx,\n", "labels: [background, a]", r"cases.csv line 2: no images"),
        ("case,images\na/b,scans/a.nii.gz\n", "labels: [background, a]", r"case 'a/b' contains '/' or ':'"),
        ("case,images\na,scans/a.nii.gz\na,scans/b.nii.gz\n", "labels: [background, a]", r"would both be case 'a'"),
        ("images\nscans/a.nii.gz\n", "name: x", r"no 'labels'; write for example"),
        ("images\nscans/a.nii.gz\n", "labels: {a: 1}", r"'labels' has no background"),
        ("images\nscans/a.nii.gz\n", "labels: {background: 0, a: 0}", r"stands for two things"),
        ("images\nscans/a.nii.gz\n", "labels: [background, a]\nlists: {val: [c]}", r"lists val: 'c' is no case"),
        ("images\nscans/a.nii.gz\n", None, r"no dataset.yaml, so no catalogue"),
    ],
)
def test_wrong_by_hand(files, cases: str, dataset: str | None, message: str) -> None:
    files.catalogue(cases, dataset)
    with pytest.raises(DataError, match=message):
        read_catalogue(files.root)


def test_order_of_classes_is_that_of_the_file(files) -> None:
    files.catalogue("images\nscans/a.nii.gz\n", "labels: {z: 2, Background: 0, a: 1}\nignore: 255\n")
    labels = read_catalogue(files.root).labels
    assert labels == LabelSet(names=("Background", "z", "a"), values=(0, 2, 1), ignore=255)


def test_awkward_class_names_survive(files, tmp_path) -> None:
    image = files.image("a.png")
    names = ("background", "no", "1", "a: b", "ö")
    catalogue = Catalogue(
        name="1e3",
        channels=("on",),
        labels=LabelSet(names=names, values=(0, 1, 2, 3, 4)),
        planar=True,
        layout="image_pairs",
        cases=(Case(id="a", patient="007", images=(image,)),),
    )
    write_catalogue(catalogue, tmp_path)
    assert read_catalogue(tmp_path) == catalogue
    assert list(yaml.safe_load((tmp_path / "dataset.yaml").read_text(encoding="utf-8"))["labels"]) == list(names)


def test_a_semicolon_in_a_path(files, tmp_path) -> None:
    files.image("a;b.png")
    with pytest.raises(DataError, match="';' separates the images of a case; rename"):
        write_catalogue(scan(files.root), tmp_path / "catalogue")
