"""nnU-Net raw: imagesTr/CASE_0000.ext (a file a channel), labelsTr/CASE.ext; imagesTs, imagesUn; dataset.json or none.

A case is labelled if its mask is there, so labelsTr may hold a few masks, or not exist.
"""

from __future__ import annotations

import re
from pathlib import Path

from fewmask.data.folders import visible
from fewmask.data.formats import is_image_file, stem
from fewmask.data.layouts.dataset_json import channel_names, class_names, read_dataset_json
from fewmask.data.layouts.found import Found, identifier, in_order, patient_of, some
from fewmask.errors import DataError
from fewmask.types import Case

CHANNEL = re.compile(r"^(?P<case>.+)_(?P<channel>\d{4})$")
"""The name of a file a channel."""
FOLDERS = {"imagesTr": "labelsTr", "imagesTs": "labelsTs", "imagesUn": ""}
"""Folder of images -> folder of their masks."""


def recognise(folder: Path) -> bool:
    """Whether imagesTr holds files named CASE_0000 and the masks, if any, are named without the channel."""
    content = read_dataset_json(folder)
    if isinstance(content.get("dataset"), dict):
        return True
    stems = [stem(path) for path in _images(folder / "imagesTr")]
    matches = [match for match in map(CHANNEL.match, stems) if match]
    channels = {match["channel"] for match in matches}
    cases = {match["case"] for match in matches}
    masks = {stem(path) for path in _images(folder / "labelsTr")}
    if masks & (cases | set(stems)):
        return bool(masks & cases) and not masks & set(stems)
    if not stems or len(matches) < len(stems):
        return False
    named = channel_names(content)
    expected = len(named) if named else len(stems) / len(cases)
    return "0000" in channels and len(channels) == expected and (bool(named) or len(channels) <= 4)


def read(folder: Path) -> Found:
    """The cases of all image folders; masks of labelsTs make the list `test`."""
    content = read_dataset_json(folder)
    names, ignore, findings = class_names(content, folder / "dataset.json")
    if isinstance(content.get("dataset"), dict):
        cases, lists, orphans = _listed(folder, content["dataset"]), {}, []
    else:
        cases, lists, orphans = _in_folders(folder)
    if orphans:
        findings = (*findings, f"{len(orphans)} masks have no image and are left out: {some(orphans)}")
    return Found(
        cases=in_order(cases),
        name=str(content.get("name", "")),
        names=names,
        ignore=ignore,
        channels=channel_names(content),
        lists=lists,
        findings=findings,
    )


def _in_folders(folder: Path) -> tuple[list[Case], dict[str, tuple[str, ...]], list[str]]:
    """Cases, the list `test`, and masks without an image."""
    cases: dict[str, Case] = {}
    test: list[str] = []
    orphans: list[str] = []
    for images, labels in FOLDERS.items():
        masks = {stem(path): path for path in _images(folder / labels)} if labels else {}
        for name, files in _grouped(folder / images).items():
            id_ = identifier(name if identifier(name) not in cases else f"{images}_{name}")
            mask = masks.pop(name, None)
            cases[id_] = Case(id=id_, patient=patient_of(name), images=files, label=mask)
            if mask is not None and labels == "labelsTs":
                test.append(id_)
        orphans += [f"{labels}/{path.name}" for path in masks.values()]
    return list(cases.values()), {"test": tuple(test)} if test else {}, orphans


def _grouped(folder: Path) -> dict[str, tuple[Path, ...]]:
    """Case -> its files by channel; DataError where a channel is missing."""
    groups: dict[str, dict[str, Path]] = {}
    for path in _images(folder):
        match = CHANNEL.match(stem(path))
        if match is None:
            raise DataError(f"{path}: no channel in the name; nnU-Net expects {stem(path)}_0000, rename it")
        files = groups.setdefault(match["case"], {})
        if match["channel"] in files:
            raise DataError(f"{path} and {files[match['channel']].name} are the same channel; remove one")
        files[match["channel"]] = path
    channels = set().union(*groups.values()) if groups else set()
    for name, files in groups.items():
        missing = sorted(channels - set(files))
        if missing:
            raise DataError(f"{folder}: case {name} has no channel {missing[0]}; add {name}_{missing[0]} or remove it")
    return {name: tuple(files[channel] for channel in sorted(files)) for name, files in groups.items()}


def _listed(folder: Path, dataset: dict[str, dict[str, object]]) -> list[Case]:
    """The cases of version 2's explicit lists: `dataset: {case: {images: [...], label: ...}}`."""
    cases = []
    for name, entry in dataset.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("images"), list):
            raise DataError(f"{folder / 'dataset.json'}: case {name} needs 'images': [...]; correct it")
        label = entry.get("label")
        files = (*(folder / str(image) for image in entry["images"]), *([folder / str(label)] if label else []))
        for path in files:
            if not path.is_file():
                raise DataError(f"{folder / 'dataset.json'}: case {name} names {path}, which is not there; correct it")
        images = files[: len(entry["images"])]
        cases.append(
            Case(id=identifier(name), patient=patient_of(name), images=images, label=files[-1] if label else None)
        )
    return cases


def _images(folder: Path) -> list[Path]:
    return [path for path in visible(folder) if path.is_file() and is_image_file(path)]
