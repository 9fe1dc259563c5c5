"""Medical Segmentation Decathlon, and MONAI's data lists: dataset.json names image and mask of each case."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fewmask.data.folders import visible
from fewmask.data.formats import is_image_file, stem
from fewmask.data.layouts.dataset_json import channel_names, class_names, read_dataset_json
from fewmask.data.layouts.found import Found, identifier, in_order, patient_of, some
from fewmask.errors import DataError
from fewmask.types import Case

SECTIONS = {"training": None, "validation": "val", "test": "test", "testing": "test"}
"""Keys of dataset.json that list cases -> the role of those that have a mask."""

FOLDERS = ("imagesTr", "imagesTs", "imagesUn")
"""Where further images, which the lists do not name, are unlabelled."""


def recognise(folder: Path) -> bool:
    """Whether dataset.json lists training cases that are there under the names it gives."""
    training = read_dataset_json(folder).get("training")
    if not isinstance(training, list) or not training:
        return False
    images = _paths(training[0], "image", folder)
    return bool(images) and (images[0].is_file() or not _any_channel(images[0]))


def read(folder: Path) -> Found:
    """The listed cases, and the unlisted images as unlabelled ones."""
    content = read_dataset_json(folder)
    names, ignore, findings = class_names(content, folder / "dataset.json")
    cases: list[Case] = []
    lists: dict[str, tuple[str, ...]] = {}
    for section, role in SECTIONS.items():
        entries = content.get(section) or []
        if not isinstance(entries, list):
            raise DataError(
                f"{folder / 'dataset.json'}: '{section}' is {entries!r}; write a list of cases, or leave it out"
            )
        listed = [_case(entry, section, folder) for entry in entries]
        absent = [case.id for case in listed if case.label is None and not all(path.is_file() for path in case.images)]
        if absent:
            findings = (*findings, f"{len(absent)} images of '{section}' are not there: {some(absent)}")
        listed = [case for case in listed if case.id not in absent]
        cases += listed
        masked = tuple(case.id for case in listed if case.label is not None)
        if role and masked:
            lists[role] = lists.get(role, ()) + masked
    known = {image.resolve() for case in cases for image in case.images}
    further = [path for path in _images(folder) if path.resolve() not in known]
    cases += [Case(id=identifier(stem(path)), patient=patient_of(stem(path)), images=(path,)) for path in further]
    if further:
        shown = some(path.name for path in further)
        findings = (*findings, f"{len(further)} images are not in dataset.json and count as unlabelled: {shown}")
    return Found(
        cases=in_order(cases),
        name=str(content.get("name", "")),
        names=names,
        ignore=ignore,
        channels=channel_names(content),
        lists=lists,
        findings=findings,
    )


def _case(entry: Any, section: str, folder: Path) -> Case:
    images = _paths(entry, "image", folder)
    if not images:
        raise DataError(f"{folder / 'dataset.json'}: an entry of '{section}' names no image ({entry!r}); correct it")
    label = _paths(entry, "label", folder)
    for path in (*images, *label):
        if not path.is_file() and (label or section == "training"):
            raise DataError(f"{folder / 'dataset.json'} names {path}, which is not there; copy it or correct the list")
    name = stem(images[0])
    return Case(id=identifier(name), patient=patient_of(name), images=images, label=label[0] if label else None)


def _paths(entry: Any, key: str, folder: Path) -> tuple[Path, ...]:
    """The files of an entry, which is a path (an image) or an object whose values are paths or lists of them."""
    value = entry.get(key) if isinstance(entry, dict) else entry if key == "image" else None
    values = value if isinstance(value, list) else [value]
    return tuple(folder / str(path) for path in values if path)


def _any_channel(path: Path) -> bool:
    """Whether the image is there under nnU-Net's name, with a channel."""
    return any(stem(other) == f"{stem(path)}_0000" for other in visible(path.parent))


def _images(folder: Path) -> list[Path]:
    return [path for part in FOLDERS for path in visible(folder / part) if path.is_file() and is_image_file(path)]
