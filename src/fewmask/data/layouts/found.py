"""What a layout finds in a folder, and the naming rules that all layouts share."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from fewmask.errors import DataError
from fewmask.types import Case, Colour

ONE_PATIENT = "all images seem to be of one patient"
"""How the finding starts that patients.csv settles."""

PATIENT = re.compile(
    r"^(?P<bids>sub-[a-z0-9]+)"
    r"|^(?P<named>(?:patient|pat|subject|subj|case|person|volunteer)[-_ ]?\d+)(?=[-_. ]|$)"
    r"|^(?P<before>.+?)[-_. ](?:frame|slice|slc|visit|ses|session|timepoint|phase)[-_]?\d+(?=[-_. ]|$)",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class Found:
    """The cases of a folder before any of their voxels is read.

    `names` maps class name -> raw value where the layout says so, else None; `ignore` the raw value that is neither
    trained on nor scored; `merged` and `colours` as in LabelSet; `channels` the names of the channels, or None; `lists`
    the layout's own roles (train, val, test, labelled, unlabelled) in their order; `findings` what to tell the user;
    `series` a row of series.csv for each DICOM series; `identities` maps patient codes to identifiers, which are
    written only if the user asks.
    """

    cases: tuple[Case, ...]
    name: str = ""
    names: Mapping[str, int] | None = None
    ignore: int | None = None
    merged: Mapping[int, int] = field(default_factory=dict)
    colours: Mapping[Colour, int] = field(default_factory=dict)
    channels: tuple[str, ...] | None = None
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    findings: tuple[str, ...] = ()
    series: tuple[Mapping[str, str], ...] = ()
    identities: Mapping[str, str] = field(default_factory=dict)


def patient_of(name: str) -> str:
    """The patient that a case's name tells: patient001_frame01 -> patient001, sub-01_T1w -> sub-01, else the name."""
    match = PATIENT.match(name)
    if match is None:
        return name
    return match["bids"] or match["named"] or match["before"]


def identifier(text: str) -> str:
    """`text` as a case id: composed (NFC), no path separators, and no colon, which stands before a slice."""
    return re.sub(r"[/\\:]", "_", unicodedata.normalize("NFC", text))


def natural(text: str) -> list[tuple[int, int, str]]:
    """Sort key under which slice_2 comes before slice_10."""
    parts = re.split(r"(\d+)", text)
    return [(1, int(part), part) if part.isdecimal() else (0, 0, part) for part in parts]


def in_order(cases: Iterable[Case]) -> tuple[Case, ...]:
    """The cases by id; DataError where two have the same."""
    ordered = sorted(cases, key=lambda case: natural(case.id))
    for first, second in pairwise(ordered):
        if first.id == second.id:
            raise DataError(f"{first.images[0]} and {second.images[0]} would both be case '{first.id}'; rename one")
    return tuple(ordered)


def within(path: Path, folder: Path) -> str:
    """`path` as seen from `folder`, for messages."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def some(names: Iterable[str], shown: int = 3) -> str:
    """'a, b, c and 4 more', for messages."""
    names = list(names)
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
