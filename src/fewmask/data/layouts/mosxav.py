"""MOSXAV: X-ray angiography videos, trainval/ and test/, each with JPEGImages, Annotations_Semantic and ImageSets.

Sequences are called v00, v01, ... in both halves, so ids begin with the half's name.  Which frames have masks is read
from the folder; published counts contradict each other.
"""

from __future__ import annotations

from pathlib import Path

from fewmask.data.folders import visible
from fewmask.data.layouts.found import Found, identifier, in_order, some
from fewmask.data.layouts.frames import counted, pictures, refuse_shared
from fewmask.data.layouts.lists import entries
from fewmask.errors import DataError
from fewmask.types import Case, Colour

HALVES = ("trainval", "test")
FRAMES, MASKS, LISTS = "JPEGImages", "Annotations_Semantic", "ImageSets"
NAMES = {"background": 0, "vessel": 1, "contrast catheter": 2, "catheter": 3, "balloon": 4}
OTHERS = 5
"""Occurs in test masks alone, so it is neither learnt nor scored; dataset.yaml may make it a class, or background."""
COLOURS: dict[Colour, int] = {
    (0, 0, 0): 0,
    (85, 170, 255): 1,
    (170, 255, 0): 2,
    (249, 193, 0): 3,
    (255, 0, 0): 4,
    (244, 108, 59): OTHERS,
}
"""Of masks that come as RGB; those with a palette hold the numbers."""


def recognise(folder: Path) -> bool:
    """Whether a half with frames and semantic masks is there."""
    return any((folder / half / FRAMES).is_dir() and (folder / half / MASKS).is_dir() for half in HALVES)


def read(folder: Path) -> Found:
    """A case a frame; sequences are the groups, train.txt, val.txt and test.txt the lists."""
    cases: list[Case] = []
    lists: dict[str, tuple[str, ...]] = {}
    findings: list[str] = []
    for half in HALVES:
        root = folder / half
        found, orphans = _frames(root, half)
        cases += found
        if found:
            findings += counted(half, found)
        if orphans:
            findings.append(f"{half}: {len(orphans)} masks have no frame and are left out: {some(orphans)}")
        roles = ("train", "val") if half == "trainval" else ("test",)
        named = {role: _listed(root, half, role, found, findings) for role in roles}
        refuse_shared(
            {f"{role}.txt": names or () for role, names in named.items()}, f"take it out of one, in {root / LISTS}"
        )
        for role, names in named.items():
            if names is None and role == "test":
                names = tuple(dict.fromkeys(case.patient for case in found))
            if names:
                lists[role] = tuple(case.id for name in names for case in found if case.patient == name)
    return Found(
        cases=in_order(cases),
        names=NAMES,
        ignore=OTHERS,
        colours=COLOURS,
        lists={role: ids for role, ids in lists.items() if ids},
        findings=tuple(findings),
    )


def _frames(root: Path, half: str) -> tuple[list[Case], list[str]]:
    """The frames of a half in order, and the masks that belong to none."""
    cases: list[Case] = []
    orphans: list[str] = []
    for sequence in visible(root / FRAMES):
        if not sequence.is_dir():
            continue
        masks = pictures(root / MASKS / sequence.name)
        frames = pictures(sequence)
        orphans += [f"{sequence.name}/{name}" for name in masks if name not in frames]
        for name, path in frames.items():
            id_ = identifier(f"{half}_{sequence.name}_{name}")
            patient = identifier(f"{half}_{sequence.name}")
            cases.append(Case(id=id_, patient=patient, images=(path,), label=masks.get(name)))
    return cases, orphans


def _listed(root: Path, half: str, role: str, cases: list[Case], findings: list[str]) -> tuple[str, ...] | None:
    """The sequences that ImageSets names for a role, as patients; None where there is no such list."""
    path = root / LISTS / f"{role}.txt"
    if not path.is_file():
        return None
    there = {case.patient for case in cases}
    names = [identifier(f"{half}_{name}") for name in entries(path)]
    missing = [name for name in names if name not in there]
    if names and len(missing) == len(names):
        raise DataError(f"{path}: none of its {len(names)} sequences is in {FRAMES} (first: {missing[0]}); correct it")
    if missing:
        findings.append(f"{path.name}: {len(missing)} of {len(names)} sequences are not there: {some(missing)}")
    return tuple(name for name in names if name in there)
