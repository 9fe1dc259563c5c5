"""scan: recognise a folder, check every file once, and say what it means.  The only stage that opens all masks."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fewmask.data.casetable import Catalogue, default_channels
from fewmask.data.checks import Check, check_all
from fewmask.data.labels import resolve_labels
from fewmask.data.layouts import find_cases, table
from fewmask.data.layouts.companions import read_dataset_yaml, with_companions
from fewmask.data.layouts.found import Found, some
from fewmask.errors import DataError
from fewmask.progress import say
from fewmask.types import Case, Colour

JOURNAL = ".scan.jsonl"
"""In a catalogue's folder: what was found good, so that a scan goes on where it stopped."""

SPOKEN_SECONDS = 2.0
"""A scan that took longer says how long a file took."""


def scan(
    data: Path,
    layout: str | None = None,
    workers: int | None = None,
    quiet: bool = False,
    *,
    keep_ids: bool = False,
    journal: Path | None = None,
) -> Catalogue:
    """The catalogue of the folder `data`.  Every image and mask is read once.

    `layout` is a key of layouts.LAYOUTS, None: recognised; `workers` threads, None: chosen; `keep_ids`: patients under
    their own identifiers where these come from DICOM tags, in place of codes; `journal`: a file that lets the same scan
    go on where it stopped.  DataError names the first file that is wrong, what is wrong with it and what to do, and
    says how many more there are.
    """
    name, found = found_in(Path(data), layout, keep_ids)
    return checked_catalogue(name, found, Path(data), workers=workers, quiet=quiet, journal=journal)


def checked_catalogue(
    layout: str,
    found: Found,
    data: Path,
    *,
    workers: int | None = None,
    quiet: bool = False,
    journal: Path | None = None,
) -> Catalogue:
    """The catalogue of what was found in `data`, once every file of it was read.  Arguments and errors as in `scan`."""
    checks = _checked(found.cases, found.colours, workers, quiet, journal)
    channels = _channels(found.cases, checks, found.channels)
    return Catalogue(
        name=found.name or data.resolve().name,
        channels=channels,
        planar=all(check.planar for check in checks),
        layout=layout,
        cases=found.cases,
        lists=found.lists,
        series=found.series,
        **_labels_and_findings(found, checks),
    )


def found_in(data: Path, layout: str | None, keep_ids: bool = False, empty: bool = False) -> tuple[str, Found]:
    """The layout's name and the cases of a folder, with what the user wrote beside them; `empty`: there may be none."""
    if layout is None and not table.recognise(data):
        layout = read_dataset_yaml(data / "dataset.yaml").get("layout")
    name, start, found = find_cases(data, layout)
    found = with_companions(found, start)
    if not found.cases and not empty:
        why = next((row["why"] for row in found.series if row["why"]), "")
        raise DataError(
            f"{data}: layout '{name}', but no images{f' that can be read ({why})' if why else ''}; "
            "see docs/how-to/own-data.md"
        )
    if keep_ids:
        cases = (replace(case, patient=found.identities.get(case.patient, case.patient)) for case in found.cases)
        found = replace(found, cases=tuple(cases))
    return name, found


def _labels_and_findings(found: Found, checks: Sequence[Check]) -> dict[str, Any]:
    by_id = {case.id: case for case in found.cases}
    masks = {
        by_id[check.case].label: check.values
        for check in checks
        if by_id[check.case].label and check.values is not None
    }
    names = found.names or _names_in_masks(by_id, checks)
    labels, said = resolve_labels(masks, names, found.ignore, found.merged)
    labels = replace(labels, colours=found.colours)
    findings = (*found.findings, *said, *_mask_findings(checks), *_regridded(checks), *_duplicates(by_id, checks))
    return {"labels": labels, "findings": findings}


def _names_in_masks(cases: Mapping[str, Case], checks: Sequence[Check]) -> dict[str, int] | None:
    """Class name -> value, where the masks' own files say so; DataError where two of them disagree."""
    names: dict[str, int] = {}
    values: dict[int, str] = {}
    where: dict[str, str] = {}
    for check in checks:
        for name, value in (check.names or {}).items():
            if names.setdefault(name, value) != value or values.setdefault(value, name) != name:
                other = where.get(name) or where[values[value]]
                raise DataError(
                    f"{cases[check.case].label}: '{name}' has value {value} here and not in {other}; "
                    "`fewmask scan --fix DIR` writes a copy with one value for each name"
                )
            where.setdefault(name, str(cases[check.case].label))
    return names or None


def check(catalogue: Catalogue, quiet: bool = False) -> Catalogue:
    """`catalogue`, written by hand, with what a scan of its files finds; raises DataError as `scan` does."""
    own = catalogue.labels
    checks = _checked(catalogue.cases, own.colours, None, quiet)
    channels = _channels(catalogue.cases, checks, catalogue.channels)
    if len(channels) != len(catalogue.channels):
        raise DataError(
            f"{catalogue.name}: the images have {len(channels)} channels and dataset.yaml names "
            f"{len(catalogue.channels)} ({', '.join(catalogue.channels)}); correct 'channels'"
        )
    found = Found(
        cases=catalogue.cases,
        names=dict(zip(own.names, own.values, strict=True)),
        ignore=own.ignore,
        merged=own.merged,
        colours=own.colours,
        findings=catalogue.findings,
    )
    settled = _labels_and_findings(found, checks)
    if set(settled["labels"].values) == set(own.values):
        settled["labels"] = own  # in the order of the file
    return replace(catalogue, **settled)


def _checked(
    cases: Sequence[Case],
    colours: Mapping[Colour, int],
    workers: int | None,
    quiet: bool,
    journal: Path | None = None,
) -> list[Check]:
    """A check for every case, in their order.  One DataError for all that is wrong."""
    started = time.monotonic()
    checks, errors = check_all(cases, workers, quiet, journal, colours)
    seconds = time.monotonic() - started
    if seconds > SPOKEN_SECONDS:
        files = sum(len(case.images) + (case.label is not None) for case in cases)
        say(f"scan: {files} files in {seconds:.1f} s, {1000 * seconds / files:.2f} ms a file", quiet)
    if errors:
        first, *others = (case for case in cases if case.id in errors)
        more = f" ({len(others)} more cases are wrong: {some(case.id for case in others)})" if others else ""
        raise DataError(f"{errors[first.id]}{more}")
    return checks


def _channels(cases: Sequence[Case], checks: Sequence[Check], names: tuple[str, ...] | None) -> tuple[str, ...]:
    """The names of the channels; DataError where images differ in how many they have."""
    counts = Counter(check.channels for check in checks)
    usual, _ = counts.most_common(1)[0]
    odd = [(case, check) for case, check in zip(cases, checks, strict=True) if check.channels != usual]
    if odd:
        case, shown = odd[0]
        raise DataError(
            f"{case.images[0]}: {shown.channels} channels where {counts[usual]} images have {usual} "
            f"({len(odd)} such images); convert them to {usual}, or move them elsewhere"
        )
    if names and len(names) == usual:
        return names
    return default_channels(usual)


def _mask_findings(checks: Sequence[Check]) -> list[str]:
    if any(check.values is not None for check in checks):
        return []
    return ["no masks: all images are unlabelled; add at least one mask to train"]


def _regridded(checks: Sequence[Check]) -> list[str]:
    """That channels lie on other grids than the first of their case, and what becomes of them."""
    files = [name for check in checks for name in check.regridded]
    if not files:
        return []
    return [f"{len(files)} channel files lie on another grid and are resampled onto their case's first: {some(files)}"]


def _duplicates(cases: Mapping[str, Case], checks: Sequence[Check]) -> list[str]:
    """A warning where patients share an image: what one teaches must not be tested on the other."""
    same: dict[str, list[Case]] = {}
    for check in checks:
        same.setdefault(check.digest, []).append(cases[check.case])
    twins = [shared for shared in same.values() if len({case.patient for case in shared}) > 1]
    if not twins:
        return []
    shown = some(" = ".join(case.id for case in shared) for shared in twins)
    return [f"identical images of different patients: {shown}; one patient under two names? say so in patients.csv"]
