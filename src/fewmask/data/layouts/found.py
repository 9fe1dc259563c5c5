"""What a layout finds in a folder, and the naming rules that all layouts share."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from fewmask.errors import DataError
from fewmask.runs import written_here
from fewmask.types import Case

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
    trained on nor scored; `channels` the names of the channels, or None; `lists` the layout's own roles (train, val,
    test, labelled, unlabelled) in their order; `findings` what the user should know.
    """

    cases: tuple[Case, ...]
    name: str = ""
    names: Mapping[str, int] | None = None
    ignore: int | None = None
    channels: tuple[str, ...] | None = None
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    findings: tuple[str, ...] = ()


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


def visible(folder: Path) -> list[Path]:
    """The entries of `folder` by name, without hidden files and the leavings of archives; [] if it is not there."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX")))


def files_below(folder: Path, left_out: list[Path] | None = None) -> Iterator[Path]:
    """All visible files at any depth, sorted within each folder; links to folders are followed once.

    left_out: takes the folders below that fewmask wrote itself, whose files are not given; None: they are as others.
    """
    seen: set[str] = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        if left_out is not None:
            own = [name for name in folders if written_here(Path(root) / name)]
            left_out += [Path(root) / name for name in own]
            folders[:] = [name for name in folders if name not in own]
        yield from (Path(root) / name for name in sorted(names) if not name.startswith("."))


def within(path: Path, folder: Path) -> str:
    """`path` as seen from `folder`, for messages."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def some(names: Iterable[str], shown: int = 3) -> str:
    """'a, b, c and 4 more', for messages."""
    names = list(names)
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
