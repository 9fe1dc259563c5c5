"""DICOM files in folders of any depth: one case a series, with every series' verdict.

A mask is a DICOM-SEG that refers to the series, a mask folder of DICOM files beside it, or one NIfTI or NRRD file with
the name of the case or alone in its folder.  Case names come from folders and files, never from a tag.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fewmask.data.dicom.images import instances_below, is_candidate
from fewmask.data.dicom.instance import Instance, patient_codes
from fewmask.data.dicom.series import Series, arranged
from fewmask.data.folders import files_below
from fewmask.data.formats import is_image_file, stem
from fewmask.data.layouts.found import Found, identifier, in_order, natural, within
from fewmask.data.layouts.naming import Kind, folder_word, stem_word
from fewmask.types import Case

LOOKED_AT = 200
"""Files by which a folder is recognised."""

OTHER_MASKS = (".nii", ".nii.gz", ".nrrd", ".mha")


@dataclass(frozen=True, kw_only=True, eq=False)
class Placed:
    """A series and the path that stands for it: its folder, or a file where the folder holds others too."""

    series: Series
    path: Path
    parts: tuple[str, ...]
    is_mask: bool


def recognise(folder: Path) -> bool:
    """Whether most image files at any depth are DICOM."""
    dicom = others = 0
    for path in files_below(folder, []):
        if is_candidate(path):
            dicom += 1
        elif is_image_file(path):
            others += 1
        if dicom + others >= LOOKED_AT:
            break
    return dicom > others


def read(folder: Path) -> Found:
    """A case for every series that can be read; `series` tells what became of each."""
    own: list[Path] = []
    folders = list(dict.fromkeys(path.parent for path in files_below(folder, own)))
    instances: list[Instance] = []
    broken: list[tuple[Path, str]] = []
    for part in folders:
        found, faults = instances_below(part, deep=False)
        instances += found
        broken += faults
    verdicts = [_broken(path, reason, folder) for path, reason in broken]
    held = _below(one.path for one in instances if not one.is_segmentation)
    placed = [_placed(series, held, folder) for series in arranged(instances)]
    placed, odd = _of_one_kind(placed)
    verdicts += [_verdict(one, folder, why) for one, why in odd]
    names = _names([one for one in placed if not one.is_mask], folder)
    labels = _labels(names, placed, instances, folder)
    codes = patient_codes(one.series.first for one in names)
    cases = [
        Case(id=name, patient=codes[one.series.first.patient], images=(one.path,), label=labels.get(name))
        for one, name in names.items()
    ]
    verdicts += [_verdict(one, folder, "") for one in placed]
    findings = []
    skipped = Counter(row["why"].partition(":")[0].partition(" at ")[0] for row in verdicts if row["verdict"] != "used")
    if skipped:
        findings.append("skipped: " + ", ".join(f"{times} x {why}" for why, times in skipped.most_common()))
    notes = Counter(note for one in placed for note in one.series.notes)
    findings += [f"{note} ({times} series)" for note, times in notes.most_common()]
    return Found(
        cases=in_order(cases),
        findings=tuple(findings),
        series=tuple(sorted(verdicts, key=lambda row: natural(row["series"]))),
        identities={codes[one.series.first.patient]: one.series.first.patient for one in names},
    )


def _below(paths: Iterable[Path]) -> Counter[Path]:
    """Folder -> how many of `paths` lie in it, at any depth."""
    return Counter(parent for path in paths for parent in path.parents)


def _placed(series: Series, held: Counter[Path], folder: Path) -> Placed:
    """Where the series lies.  One that is scattered over folders must have their common folder for itself.

    held: folder -> files with images at any depth.
    """
    paths = {one.instance.path for one in series.slices}
    homes = {path.parent for path in paths}
    home = Path(*_common([path.parent.parts for path in paths]))
    if series.skipped:
        return Placed(series=series, path=home, parts=home.relative_to(folder).parts, is_mask=False)
    alone = held[home] == len(paths)
    if len(homes) > 1 and not alone:
        moved = Series(slices=series.slices, skipped=f"scattered over {len(homes)} folders; move it into one")
        return Placed(series=moved, path=home, parts=home.relative_to(folder).parts, is_mask=False)
    path = home if alone and len(paths) > 1 else min(paths, key=lambda path: natural(path.name))
    parts = home.relative_to(folder).parts
    kinds = [folder_word(part) for part in parts]
    is_mask = any(word.kind is Kind.MASK for word in kinds)
    rest = tuple(part if word.kind is Kind.UNKNOWN else word.rest for part, word in zip(parts, kinds, strict=True))
    parts = tuple(part for part in rest if part)
    if path != home:
        parts = (*parts, stem(path))
    return Placed(series=series, path=path, parts=parts, is_mask=is_mask)


def _common(paths: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    shortest = min(paths, key=len)
    same = next((n for n, part in enumerate(shortest) if any(path[n] != part for path in paths)), len(shortest))
    return shortest[:same]


def _of_one_kind(placed: Sequence[Placed]) -> tuple[list[Placed], list[tuple[Placed, str]]]:
    """The series to use, and those that are not: skipped ones, and colour among grey or the other way round."""
    odd = [(one, one.series.skipped) for one in placed if one.series.skipped]
    good = [one for one in placed if not one.series.skipped]
    counts = Counter(one.series.channels for one in good)
    if len(counts) > 1:
        usual = max(counts, key=lambda channels: (counts[channels], -channels))
        odd += [
            (one, f"{one.series.channels} channels where most have {usual}")
            for one in good
            if one.series.channels != usual
        ]
        good = [one for one in good if one.series.channels == usual]
    return good, odd


def _names(placed: Sequence[Placed], folder: Path) -> dict[Placed, str]:
    """A name for each series: as few of its folders, from the top, as tell it from the others."""
    paths = {one: one.parts or (folder.resolve().name,) for one in placed}
    shared = Counter(parts[:n] for parts in paths.values() for n in range(1, len(parts) + 1))
    names = {}
    for one, parts in paths.items():
        length = next((n for n in range(1, len(parts)) if shared[parts[:n]] == 1), len(parts))
        names[one] = identifier("_".join(parts[:length]))
    return names


def _labels(
    names: dict[Placed, str], placed: Sequence[Placed], instances: Sequence[Instance], folder: Path
) -> dict[str, Path]:
    """Case -> its mask."""
    labels: dict[str, Path] = {}
    referenced = {uid: one.path for one in instances if one.is_segmentation for uid in one.referenced}
    drawn = {one.parts: one.path for one in placed if one.is_mask}
    files = [path for path in files_below(folder, []) if path.name.lower().endswith(OTHER_MASKS)]
    by_name = {name: path for path in files for name in (stem(path), stem_word(stem(path)).rest)}
    homes = Counter(path.parent for path in files)
    lone = {path.parent: path for path in files if homes[path.parent] == 1}
    held = _below(one.path / "file" if one.path.is_dir() else one.path for one in names)
    for one, name in names.items():
        beside = one.path if one.path.is_dir() else one.path.parent
        near = next((lone[home] for home in (beside, beside.parent) if home in lone and held[home] == 1), None)
        mask = referenced.get(one.series.first.series) or drawn.get(one.parts) or by_name.get(name) or near
        if mask is not None:
            labels[name] = mask
    return labels


def _verdict(one: Placed, folder: Path, why: str) -> dict[str, str]:
    """A row of series.csv."""
    series, first = one.series, one.series.first
    spacing = "" if series.grid is None or series.grid.spacing_mm is None else series.grid.spacing_mm
    return {
        "series": within(one.path, folder),
        "modality": first.modality,
        "slices": str(len(series.slices)),
        "size": f"{first.rows} x {first.columns}",
        "spacing_mm": " x ".join(f"{size:.4g}" for size in spacing),
        "verdict": "skipped" if why else "mask" if one.is_mask else "used",
        "why": why or "; ".join(series.notes),
    }


def _broken(path: Path, reason: str, folder: Path) -> dict[str, str]:
    row = dict.fromkeys(("series", "modality", "slices", "size", "spacing_mm", "verdict", "why"), "")
    return row | {"series": within(path, folder), "verdict": "skipped", "why": reason.partition(";")[0]}
