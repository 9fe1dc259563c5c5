"""Folders of images and folders of masks, or X beside X_mask: NIfTI, PNG, JPEG, TIFF or BMP, nested or flat.

A mask belongs to the image of the same path and name once the words that say `image` and `mask` are taken away.
Folders between are patients or sequences; `train`, `val` and `test` are roles.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fewmask.data.folders import files_below
from fewmask.data.formats import is_image_file, stem, suffix
from fewmask.data.layouts.content import mask_folder
from fewmask.data.layouts.found import ONE_PATIENT, PATIENT, Found, identifier, in_order, some, within
from fewmask.data.layouts.naming import Kind, folder_word, is_role, role_of, stem_word
from fewmask.errors import DataError
from fewmask.types import Case

VOLUMES = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd")
SEGMENTATION = ".seg.nrrd"
"""3D Slicer's ending: a mask, whatever it is called."""
ALSO_HANDLED = (".h5", ".hdf5", ".dcm", ".dicom", ".ima")


@dataclass(frozen=True, kw_only=True)
class Place:
    """A file and what its path says.

    `key` pairs it; `group` are the folders of patient and sequence, of which the first `above` lie above the folder of
    images or masks; `role` is the list that a folder puts it in, or None.
    """

    path: Path
    stem: str
    kind: Kind
    key: tuple[str, ...]
    group: tuple[str, ...]
    above: int
    role: str | None


def recognise(folder: Path) -> bool:
    """Whether any picture or NIfTI file lies at any depth."""
    return any(True for _ in _files(folder, []))


def read(folder: Path) -> Found:
    """Every image as a case, with its mask where there is one; fewmask's own results are no images."""
    own: list[Path] = []
    places = [_place(path, folder) for path in _files(folder, own)]
    images, masks = _sorted_out(places, folder)
    labels, orphans = _paired(images, masks, folder)
    cases, findings = _cases(_without_common(images), labels)
    if orphans:
        shown = some(within(path, folder) for path in orphans)
        findings = (*findings, f"{len(orphans)} masks have no image and are left out: {shown}")
    own = [path for path in own if any(map(is_image_file, files_below(path)))]  # a run that just began holds none
    if own:
        shown = some(within(path, folder) for path in own)
        findings = (*findings, f"results of fewmask are no data and are left out: {shown}")
    return Found(cases=in_order(cases), lists=_lists(images, cases), findings=findings)


def _files(folder: Path, own: list[Path]) -> Iterator[Path]:
    return (path for path in files_below(folder, own) if is_image_file(path) and suffix(path) not in ALSO_HANDLED)


def _place(path: Path, folder: Path) -> Place:
    kinds: list[Kind] = []
    key: list[str] = []
    group: list[str] = []
    above = 0
    role = None
    for part in path.parent.relative_to(folder).parts:
        name = unicodedata.normalize("NFC", part)
        word = folder_word(name)
        rest = word.rest
        if word.kind is Kind.MASK or (word.kind is Kind.IMAGE and (Kind.IMAGE not in kinds or is_role(rest))):
            above = above if kinds else len(group)
            kinds.append(word.kind)
        elif not is_role(name):
            group.append(name)
            rest = name
        key += [rest.lower()] if rest else []
        role = role or (role_of(rest) if rest not in group else None)
    masked = Kind.MASK in kinds or suffix(path) == SEGMENTATION
    kind = Kind.MASK if masked else Kind.IMAGE if kinds else Kind.UNKNOWN
    return Place(path=path, stem=stem(path), kind=kind, key=tuple(key), group=tuple(group), above=above, role=role)


def _sorted_out(places: Sequence[Place], folder: Path) -> tuple[list[Place], list[Place]]:
    """Images and masks: by folder name, by file name beside an image, and at last by content."""
    masks = [place for place in places if place.kind is Kind.MASK]
    others = [place for place in places if place.kind is not Kind.MASK]
    names = {(place.key, name) for place in others for name in _image_names(place)}
    beside = [place for place in others if _is_mask_beside(place, names)]
    masks += beside
    taken = {place.path for place in beside}
    images = [place for place in others if place.path not in taken]
    if not masks:
        chosen = mask_folder([place.path for place in images], folder)
        if chosen:
            masks = [_below(place, chosen, folder) for place in images if place.path.is_relative_to(chosen)]
            images = [_below(place, None, folder) for place in images if not place.path.is_relative_to(chosen)]
    return images, masks


def _below(place: Place, chosen: Path | None, folder: Path) -> Place:
    """The place without its topmost folder, which only told images from masks."""
    top = place.path.relative_to(folder).parts[0]
    keep = slice(1, None) if place.group[:1] == (top,) else slice(None)
    kind = Kind.MASK if chosen else Kind.IMAGE
    return replace(place, key=place.key[keep], group=place.group[keep], kind=kind)


def _image_names(place: Place) -> set[str]:
    """The names under which a mask may ask for the image."""
    word = stem_word(place.stem)
    if word.kind is Kind.MASK:
        return {place.stem}
    return {place.stem, word.rest}


def _is_mask_beside(place: Place, names: set[tuple[tuple[str, ...], str]]) -> bool:
    word = stem_word(place.stem)
    return word.kind is Kind.MASK and (place.key, word.rest) in names


def _paired(images: Sequence[Place], masks: Sequence[Place], folder: Path) -> tuple[dict[Path, Path], list[Path]]:
    """Image -> mask, and the masks without an image.  DataError where two masks want one image, or none fits."""
    exact = {(image.key, image.stem): image.path for image in images}
    loose = {(image.key, name): image.path for image in images for name in _image_names(image)}
    pairs = {mask.path: _partner(mask, mask.key, exact, loose) for mask in masks}
    if masks and not any(pairs.values()):
        unique = Counter(image.stem for image in images)
        stems = {((), image.stem): image.path for image in images if unique[image.stem] == 1}
        pairs = {mask.path: _partner(mask, (), stems, stems) for mask in masks}
    labels: dict[Path, Path] = {}
    for mask, image in pairs.items():
        if image is not None and image in labels:
            raise DataError(
                f"{within(labels[image], folder)} and {within(mask, folder)} are both masks of {within(image, folder)};"
                " merge them into one file with a value for each class"
            )
        if image is not None:
            labels[image] = mask
    if masks and images and not labels:
        raise DataError(
            f"{folder}: no mask has the name of an image (images like {within(images[0].path, folder)}, "
            f"masks like {within(masks[0].path, folder)}); give both of a pair the same name"
        )
    if masks and not images:
        raise DataError(f"{folder}: {len(masks)} masks but no image; give the folder that holds both")
    return labels, [mask for mask, image in pairs.items() if image is None]


def _partner(
    mask: Place,
    key: tuple[str, ...],
    exact: dict[tuple[tuple[str, ...], str], Path],
    loose: dict[tuple[tuple[str, ...], str], Path],
) -> Path | None:
    word = stem_word(mask.stem)
    names = [mask.stem, word.rest] if word.kind is Kind.MASK else [mask.stem]
    return next((index[key, name] for index in (exact, loose) for name in names if (key, name) in index), None)


def _cases(images: Sequence[Place], labels: dict[Path, Path]) -> tuple[list[Case], tuple[str, ...]]:
    """One case an image.  Where one patient would be left, each image is its own, and that is said."""
    names = [_name(image) for image in images]
    shared = {name for name, times in Counter(names).items() if times > 1}
    ids = [
        identifier("_".join((*image.key, image.stem)) if name in shared else name)
        for image, name in zip(images, names, strict=True)
    ]
    patients = [_patient(image, id_) for image, id_ in zip(images, ids, strict=True)]
    findings: tuple[str, ...] = ()
    if len(images) > 1 and len(set(patients)) == 1:
        findings = (f"{ONE_PATIENT} ({patients[0]}); each counts as its own unless patients.csv says otherwise",)
        patients = ids
    cases = [
        Case(id=id_, patient=patient, images=(image.path,), label=labels.get(image.path))
        for image, id_, patient in zip(images, ids, patients, strict=True)
    ]
    return cases, findings


def _without_common(images: Sequence[Place]) -> list[Place]:
    """The images without the folders that hold them all: `dataset/images/x` is no patient called `dataset`."""
    images = list(images)
    while images and all(image.above for image in images) and len({image.group[0] for image in images}) == 1:
        images = [replace(image, group=image.group[1:], above=image.above - 1) for image in images]
    return images


def _name(image: Place) -> str:
    """The folders and the file's name, joined; the folders alone where the file is just called `image`."""
    bare = not stem_word(image.stem).rest and image.group
    return "_".join(image.group if bare else (*image.group, image.stem))


def _patient(image: Place, id_: str) -> str:
    """From the name where it tells; else the folder: the deepest of frames, of volumes the patient's or the first."""
    match = PATIENT.match(image.stem)
    if match and (not image.group or not match["before"]) and match[0] != image.stem:
        return match["bids"] or match["named"] or match["before"]
    if not image.group:
        return id_
    told = [folder for folder in map(PATIENT.match, image.group) if folder and (folder["bids"] or folder["named"])]
    if told and told[0]["bids"]:
        return told[0]["bids"]
    if suffix(image.path) in VOLUMES:
        return told[0]["named"] if told else image.group[0]
    return identifier("_".join(image.group))


def _lists(images: Sequence[Place], cases: Sequence[Case]) -> dict[str, tuple[str, ...]]:
    """Roles that folders give, in the order of ids; val and test only as far as there are masks."""
    lists: dict[str, list[str]] = {}
    for image, case in zip(images, cases, strict=True):
        if image.role and (case.label or image.role in ("train", "unlabelled")):
            lists.setdefault(image.role, []).append(case.id)
    return {role: tuple(ids) for role, ids in lists.items()}
