"""Catalogue: the cases of a data set and what they mean; kept as dataset.yaml and cases.csv, also written by hand."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import yaml

from fewmask.data.formats import read_header
from fewmask.data.layouts.case_csv import read_cases, write_cases
from fewmask.data.layouts.companions import read_dataset_yaml
from fewmask.errors import DataError
from fewmask.runs import atomic_write
from fewmask.types import Case, LabelSet

CASES = "cases.csv"
DATASET = "dataset.yaml"
SERIES = "series.csv"


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """A data set: its cases, checked, and how to read them.

    `channels` are the names of an image's channels; `planar` says that every image is one 2-D picture; `lists` are the
    layout's own roles (train, val, test, labelled, unlabelled) in their order, maybe none; `findings` is what the user
    should be told; `series` what a scan made of each DICOM series, which is written and not read again.
    """

    name: str
    channels: tuple[str, ...]
    labels: LabelSet
    planar: bool
    layout: str
    cases: tuple[Case, ...]
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    findings: tuple[str, ...] = ()
    series: tuple[Mapping[str, str], ...] = ()

    @cached_property
    def by_id(self) -> dict[str, Case]:
        """Case id -> case."""
        return {case.id: case for case in self.cases}

    @cached_property
    def groups(self) -> dict[str, tuple[Case, ...]]:
        """Patient (or sequence) -> its cases, both in the order of the cases."""
        groups: dict[str, list[Case]] = {}
        for case in self.cases:
            groups.setdefault(case.patient, []).append(case)
        return {patient: tuple(cases) for patient, cases in groups.items()}


def write_catalogue(catalogue: Catalogue, folder: Path, absolute: bool = False) -> None:
    """dataset.yaml and cases.csv in `folder`, each whole or not at all.

    Paths are relative to it where possible, so that it may move with the data; absolute: so that it may move alone.
    """
    content = {
        "name": catalogue.name,
        "channels": list(catalogue.channels),
        "labels": dict(zip(catalogue.labels.names, catalogue.labels.values, strict=True)),
        "ignore": catalogue.labels.ignore,
        **_also(catalogue.labels),
        "planar": catalogue.planar,
        "layout": catalogue.layout,
        "lists": {role: list(cases) for role, cases in catalogue.lists.items()},
        "findings": list(catalogue.findings),
    }
    table = io.StringIO()
    write_cases(catalogue.cases, table, None if absolute else folder)
    if catalogue.series:
        atomic_write(folder / SERIES, _series_table(catalogue.series))
    atomic_write(folder / CASES, table.getvalue())
    atomic_write(folder / DATASET, yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120))


def _series_table(series: tuple[Mapping[str, str], ...]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(series[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(series)
    return text.getvalue()


def _also(labels: LabelSet) -> dict[str, object]:
    """The keys `merge` and `colours`, where there is something to say."""
    also: dict[str, object] = {}
    if labels.merged:
        also["merge"] = dict(labels.merged)
    if labels.colours:
        also["colours"] = {value: list(colour) for colour, value in labels.colours.items()}
    return also


def is_catalogue(folder: Path) -> bool:
    """Whether `folder` holds a cases.csv, and a dataset.yaml that names the classes."""
    return (folder / CASES).is_file() and bool(read_dataset_yaml(folder / DATASET).get("labels"))


def was_scanned(folder: Path) -> bool:
    """Whether a scan wrote the catalogue in `folder`, and so checked its files; nobody writes findings by hand."""
    return "findings" in read_dataset_yaml(folder / DATASET)


def read_catalogue(folder: Path) -> Catalogue:
    """The catalogue in `folder`.  Masks are neither opened nor looked for.

    Only `labels` and the column `images` are a must; channels and planar come from the first image's header.
    """
    for name in (CASES, DATASET):
        if not (folder / name).is_file():
            raise DataError(f"{folder}: no {name}, so no catalogue; make one with: fewmask scan DATA --out {folder}")
    content = read_dataset_yaml(folder / DATASET)
    if not content.get("labels"):
        raise DataError(f"{folder / DATASET}: no 'labels'; write for example: labels: {{background: 0, organ: 1}}")
    cases = read_cases(folder / CASES)
    channels, planar = content.get("channels"), content.get("planar")
    if channels is None or planar is None:
        headers = [read_header(image) for image in cases[0].images]
        channels = channels or default_channels(sum(header.channels for header in headers))
        planar = headers[0].grid.shape[0] == 1 if planar is None else planar
    return Catalogue(
        name=str(content.get("name") or folder.resolve().name),
        channels=channels,
        labels=replace(
            _label_set(content["labels"], content.get("ignore"), folder / DATASET),
            merged=content["merge"],
            colours=content["colours"],
        ),
        planar=bool(planar),
        layout=str(content.get("layout") or "table"),
        cases=cases,
        lists=_checked(content["lists"], cases, folder / DATASET),
        findings=tuple(map(str, content.get("findings") or ())),
    )


def default_channels(count: int) -> tuple[str, ...]:
    """Names for channels that have none: image; red, green, blue; channel 0, channel 1, ..."""
    if count == 3:
        return ("red", "green", "blue")
    return ("image",) if count == 1 else tuple(f"channel {index}" for index in range(count))


def _label_set(labels: Mapping[str, int], ignore: int | None, path: Path) -> LabelSet:
    """Classes in the order of the file, the background first."""
    if len(set(labels.values())) < len(labels) or ignore in labels.values():
        raise DataError(f"{path}: a value of 'labels' stands for two things; give each class its own value")
    background = next((name for name in labels if name.lower() == "background"), None)
    background = background or next((name for name, value in labels.items() if value == 0), None)
    if background is None:
        raise DataError(f"{path}: 'labels' has no background; write background: 0")
    names = (background, *(name for name in labels if name != background))
    return LabelSet(names=names, values=tuple(labels[name] for name in names), ignore=ignore)


def _checked(
    lists: Mapping[str, tuple[str, ...]], cases: tuple[Case, ...], path: Path
) -> Mapping[str, tuple[str, ...]]:
    ids = {case.id for case in cases}
    for role, entries in lists.items():
        for entry in entries:
            if entry not in ids and entry.rpartition(":")[0] not in ids:
                raise DataError(f"{path}: lists {role}: '{entry}' is no case of {CASES}; correct it")
    return lists
