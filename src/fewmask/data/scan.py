"""scan: recognise a folder, check every file once, and say what it means.  The only stage that opens all masks."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fewmask.data.casetable import Catalogue, default_channels
from fewmask.data.formats import read_case_image, read_mask, regridded
from fewmask.data.grid import Grid, difference
from fewmask.data.labels import resolve_labels, values_of
from fewmask.data.layouts import find_cases, table
from fewmask.data.layouts.companions import read_dataset_yaml, with_companions
from fewmask.data.layouts.found import some
from fewmask.errors import DataError
from fewmask.progress import track
from fewmask.types import Case

MAX_THREADS = 4
"""Each holds one image in memory; more threads wait for the disk."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """What one case's files hold.  `values` are those of the mask, None without one; `digest` tells equal images."""

    case: Case
    grid: Grid
    channels: int
    digest: str
    values: tuple[float, ...] | None


def scan(data: Path, layout: str | None = None, workers: int | None = None, quiet: bool = False) -> Catalogue:
    """The catalogue of the folder `data`.  Every image and mask is read once.

    `layout` is a key of layouts.LAYOUTS, None: recognised; `workers` threads, None: chosen.  DataError names the
    first file that is wrong, what is wrong with it and what to do, and says how many more there are.
    """
    data = Path(data)
    if layout is None and not table.recognise(data):
        layout = read_dataset_yaml(data / "dataset.yaml").get("layout")
    name, start, found = find_cases(data, layout)
    found = with_companions(found, start)
    if not found.cases:
        raise DataError(f"{data}: layout '{name}', but no images; see docs/how-to/own-data.md")
    checks = _checked(found.cases, workers, quiet)
    channels = _channels(checks, found.channels)
    masks = {check.case.label: check.values for check in checks if check.case.label and check.values is not None}
    labels, label_findings = resolve_labels(masks, found.names, found.ignore)
    return Catalogue(
        name=found.name or data.resolve().name,
        channels=channels,
        labels=labels,
        planar=all(check.grid.shape[0] == 1 for check in checks),
        layout=name,
        cases=found.cases,
        lists=found.lists,
        findings=(*found.findings, *label_findings, *_mask_findings(checks), *_regridded(checks), *_duplicates(checks)),
    )


def check(catalogue: Catalogue, quiet: bool = False) -> Catalogue:
    """`catalogue`, written by hand, with what a scan of its files finds; raises DataError as `scan` does."""
    checks = _checked(catalogue.cases, None, quiet)
    channels = _channels(checks, catalogue.channels)
    if len(channels) != len(catalogue.channels):
        raise DataError(
            f"{catalogue.name}: the images have {len(channels)} channels and dataset.yaml names "
            f"{len(catalogue.channels)} ({', '.join(catalogue.channels)}); correct 'channels'"
        )
    masks = {check.case.label: check.values for check in checks if check.case.label and check.values is not None}
    named = dict(zip(catalogue.labels.names, catalogue.labels.values, strict=True))
    labels, findings = resolve_labels(masks, named, catalogue.labels.ignore)
    if set(labels.values) == set(catalogue.labels.values):
        labels = catalogue.labels  # in the order of the file
    findings = (*catalogue.findings, *findings, *_mask_findings(checks), *_regridded(checks), *_duplicates(checks))
    return replace(catalogue, labels=labels, findings=findings)


def check_case(case: Case) -> Check:
    """Read the image and the mask of a case.  DataError where a file is broken or the two do not lie on one grid."""
    image, grid = read_case_image(case)
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).data)
    values = None
    if case.label is not None:
        if not case.label.is_file():
            raise DataError(
                f"case '{case.id}': its mask {case.label} is not there; correct the path, or leave it empty"
            )
        mask, mask_grid = read_mask(case.label)
        apart = difference(grid, mask_grid)
        if apart:
            raise DataError(
                f"{case.label}: mask and image {case.images[0].name} differ in {apart}; "
                "resample the mask onto the image with nearest neighbour, or give the mask of this image"
            )
        values = values_of(mask)
    return Check(case=case, grid=grid, channels=len(image), digest=digest.hexdigest(), values=values)


def _checked(cases: Sequence[Case], workers: int | None, quiet: bool) -> list[Check]:
    """A check for every case, in their order.  One DataError for all that is wrong."""
    workers = workers or min(MAX_THREADS, os.cpu_count() or 1)
    checks: dict[str, Check] = {}
    errors: dict[str, DataError] = {}
    with warnings.catch_warnings():
        # Filters belong to all threads at once: readers that change them for a moment leave a mess, which ends here.
        warnings.simplefilter("ignore")
        with ThreadPoolExecutor(workers) as pool:
            futures = {pool.submit(check_case, case): case for case in cases}
            try:
                for future in track(as_completed(futures), "scan", len(futures), quiet=quiet):
                    case = futures[future]
                    try:
                        checks[case.id] = future.result()
                    except DataError as error:
                        errors[case.id] = error
                    except OSError as error:
                        errors[case.id] = DataError(f"{error.filename or case.images[0]}: {error.strerror}; mend it")
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    if errors:
        first, *others = (case for case in cases if case.id in errors)
        more = f" ({len(others)} more cases are wrong: {some(case.id for case in others)})" if others else ""
        raise DataError(f"{errors[first.id]}{more}")
    return [checks[case.id] for case in cases]


def _channels(checks: Sequence[Check], names: tuple[str, ...] | None) -> tuple[str, ...]:
    """The names of the channels; DataError where images differ in how many they have."""
    counts = Counter(check.channels for check in checks)
    usual, _ = counts.most_common(1)[0]
    odd = [check.case for check in checks if check.channels != usual]
    if odd:
        shown = next(check for check in checks if check.channels != usual)
        raise DataError(
            f"{shown.case.images[0]}: {shown.channels} channels where {counts[usual]} images have {usual} "
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
    files = [path.name for check in checks for path in regridded(check.case)]
    if not files:
        return []
    return [f"{len(files)} channel files lie on another grid and are resampled onto their case's first: {some(files)}"]


def _duplicates(checks: Sequence[Check]) -> list[str]:
    """A warning where patients share an image: what one teaches must not be tested on the other."""
    cases: dict[str, list[Case]] = {}
    for check in checks:
        cases.setdefault(check.digest, []).append(check.case)
    twins = [same for same in cases.values() if len({case.patient for case in same}) > 1]
    if not twins:
        return []
    shown = some(" = ".join(case.id for case in same) for same in twins)
    return [f"identical images of different patients: {shown}; one patient under two names? say so in patients.csv"]
