"""Frames of videos: what layouts of image sequences share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fewmask.data.folders import visible
from fewmask.data.formats import is_image_file, stem
from fewmask.data.layouts.found import some
from fewmask.errors import DataError
from fewmask.types import Case


def pictures(folder: Path) -> dict[str, Path]:
    """Stem -> picture, of the files right in `folder`."""
    return {stem(path): path for path in visible(folder) if path.is_file() and is_image_file(path)}


def refuse_shared(sequences: Mapping[str, Iterable[str]], remedy: str) -> None:
    """Raise DataError where a sequence is in two roles; sequences: what is said of each role -> its sequences."""
    owner: dict[str, str] = {}
    for role, names in sequences.items():
        for name in names:
            if owner.setdefault(name, role) != role:
                raise DataError(f"sequence '{name}' is both in {owner[name]} and in {role}; {remedy}")


def counted(where: str, cases: Sequence[Case], noun: str = "sequence") -> list[str]:
    """What there is, and which sequences have no mask at all, as findings."""
    groups: dict[str, bool] = {}
    for case in cases:
        groups[case.patient] = groups.get(case.patient, False) or case.label is not None
    masked = sum(case.label is not None for case in cases)
    noun = noun if len(groups) == 1 else f"{noun}s"
    findings = [f"{where}: {len(groups)} {noun}, {len(cases)} frames, {masked} with a mask"]
    bare = [name for name, known in groups.items() if not known]
    if bare:
        findings.append(f"{where}: without any mask, and so unlabelled: {some(bare)}")
    return findings
