"""What a reader of an official download finds, and the counts that the download is known to have."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

from fewmask.data.folders import files_below, visible
from fewmask.data.layouts.found import Found, some
from fewmask.errors import DataError
from fewmask.types import Case

NOT_THERE = "{folder}: nothing like {looks_like}; give the folder of the unpacked official download"


def matching(folder: Path, pattern: str) -> Iterator[tuple[Path, re.Match[str]]]:
    """The files at any depth whose name fits `pattern` wholly, ignoring case."""
    wanted = re.compile(pattern, re.IGNORECASE)
    for path in files_below(folder, []):
        if found := wanted.fullmatch(path.name):
            yield path, found


def required(cases: Iterable[Case], folder: Path, looks_like: str) -> tuple[Case, ...]:
    """The cases, of which there must be one; DataError saying what the download looks like."""
    cases = tuple(cases)
    if not cases:
        raise DataError(NOT_THERE.format(folder=folder, looks_like=looks_like))
    return cases


def recognised(folder: Path, layout: ModuleType, looks_like: str) -> Path:
    """`folder` or the first one right inside that the layout knows; DataError saying what the download looks like."""
    for root in (folder, *(inner for inner in visible(folder) if inner.is_dir())):
        if layout.recognise(root):
            return root
    raise DataError(NOT_THERE.format(folder=folder, looks_like=looks_like))


def lists_of(cases: Iterable[Case], held_out: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    """Role -> case ids, by patients: `held_out` names those of val and test, all others with a mask are train."""
    cases = [case for case in cases if case.label is not None]
    role = {patient: name for name, patients in held_out.items() for patient in patients}
    names = ("train", *held_out)
    lists = {name: tuple(case.id for case in cases if role.get(case.patient, "train") == name) for name in names}
    return {name: ids for name, ids in lists.items() if ids}


def counted(found: Found, **expected: int) -> tuple[str, ...]:
    """What is said of the counts: cases, patients, masks, or images of a role, beside those of the whole download."""
    have = {
        "cases": len(found.cases),
        "patients": len({case.patient for case in found.cases}),
        "masks": sum(case.label is not None for case in found.cases),
        **{role: len(ids) for role, ids in found.lists.items()},
    }
    wrong = [name for name, count in expected.items() if have.get(name, 0) != count]
    told = ", ".join(f"{name} {have.get(name, 0)}" for name in expected)
    if not wrong:
        return (f"counts as published: {told}",)
    return (
        f"counts differ from the published ones: {some([f'{n} {have.get(n, 0)} of {expected[n]}' for n in wrong], 9)}",
    )
