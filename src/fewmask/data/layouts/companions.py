"""Files that a user puts beside the data: patients.csv, split.json, dataset.yaml.  They overrule what was inferred."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from fewmask.config import nearest
from fewmask.data.formats import stem
from fewmask.data.layouts.case_csv import read_table
from fewmask.data.layouts.found import ONE_PATIENT, Found, some
from fewmask.errors import DataError
from fewmask.runs import REQUEST
from fewmask.types import Case, Colour

DATASET_KEYS = ("name", "channels", "labels", "ignore", "merge", "colours", "planar", "layout", "lists", "findings")
LIST_KEYS = ("train", "val", "test", "labelled", "unlabelled")
PATIENT_COLUMNS = ("image", "case", "file", "id")


def with_companions(found: Found, folder: Path) -> Found:
    """`found` with what the files in `folder` say."""
    found = _with_patients(found, folder / "patients.csv")
    found = _with_split(found, folder / "split.json")
    return _with_dataset(found, read_dataset_yaml(folder / "dataset.yaml"), folder / "dataset.yaml")


def read_dataset_yaml(path: Path) -> dict[str, Any]:
    """The content of dataset.yaml, `labels` as name -> value with the ignored value apart; {} where there is none."""
    if not path.is_file():
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"{path}: not valid YAML ({' '.join(str(error).split())}); correct it") from None
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected keys {', '.join(DATASET_KEYS)}")
    for key in content:
        if key not in DATASET_KEYS:
            raise DataError(f"{path}: unknown key '{key}'{nearest(str(key), DATASET_KEYS)}")
    if not isinstance(content.get("layout") or "", str):
        raise DataError(f"{path}: layout: {content['layout']!r} is no name; write one, or leave it out")
    if content.get("labels") is not None:
        labels = _labels(content["labels"], path)
        if "ignore" in labels:
            content.setdefault("ignore", labels.pop("ignore"))
        content["labels"] = labels
    if content.get("ignore") is not None:
        content["ignore"] = _whole(content["ignore"], "ignore", path)
    content["merge"] = _merged(content, path)
    content["colours"] = _colours(content, path)
    if content.get("channels") is not None:
        channels = content["channels"]
        content["channels"] = tuple(map(str, channels if isinstance(channels, list) else [channels]))
    content["lists"] = _lists(content.get("lists") or {}, path)
    return content


def _labels(labels: Any, path: Path) -> dict[str, int]:
    """`{name: value}`, `{value: name}` or `[name, ...]` -> name -> value."""
    if isinstance(labels, list):
        labels = {str(name): value for value, name in enumerate(labels)}
    if not isinstance(labels, dict) or not labels:
        raise DataError(f"{path}: 'labels' must map names to values, for example {{background: 0, organ: 1}}")
    if all(isinstance(key, int) and isinstance(value, str) for key, value in labels.items()):
        labels = {name: value for value, name in labels.items()}
    return {str(name): _whole(value, f"labels {name}", path) for name, value in labels.items()}


def _merged(content: Mapping[str, Any], path: Path) -> dict[int, int]:
    """`merge: {7: 255}`: raw value -> the raw value of a class, or the ignored one, that it is read as."""
    merge = content.get("merge") or {}
    if not isinstance(merge, dict):
        raise DataError(f"{path}: 'merge' must map values to values, for example {{7: 255}}")
    merged = {_whole(value, "merge", path): _whole(other, f"merge {value}", path) for value, other in merge.items()}
    named = {*(content.get("labels") or {}).values(), content.get("ignore")}
    for value, other in merged.items():
        if value in named or (content.get("labels") and other not in named):
            raise DataError(
                f"{path}: merge {value}: {other}: the first may be no class, the second must be one or what is ignored"
            )
    return merged


def _colours(content: Mapping[str, Any], path: Path) -> dict[Colour, int]:
    """`colours: {vessel: [85, 170, 255]}`, or by value -> colour -> raw value."""
    given = content.get("colours") or {}
    labels = content.get("labels") or {}
    if not isinstance(given, dict):
        raise DataError(f"{path}: 'colours' must map classes to colours, for example {{organ: [255, 0, 0]}}")
    colours: dict[Colour, int] = {}
    for name, colour in given.items():
        value = labels.get(name, name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise DataError(f"{path}: colours: unknown class '{name}'{nearest(str(name), labels)}")
        whole = isinstance(colour, list) and [part for part in colour if type(part) is int and 0 <= part <= 255]
        if not whole or len(whole) != 3 or len(colour) != 3:
            raise DataError(f"{path}: colours {name}: {colour!r}; write red, green and blue, 0 to 255 each")
        if colours.setdefault(tuple(colour), value) != value:
            raise DataError(f"{path}: colours: {colour} stands for two classes; give each its own")
    return colours


def _whole(value: Any, key: str, path: Path) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise DataError(f"{path}: {key}: {value!r} is no whole number; write the value that the masks hold")
    return value


def _lists(lists: Any, path: Path) -> dict[str, tuple[str, ...]]:
    if not isinstance(lists, dict) or not all(isinstance(cases, list) for cases in lists.values()):
        raise DataError(f"{path}: 'lists' must map a role to a list of cases; roles: {', '.join(LIST_KEYS)}")
    for role in lists:
        if role not in LIST_KEYS:
            raise DataError(f"{path}: lists: unknown role '{role}'{nearest(str(role), LIST_KEYS)}")
    return {role: tuple(map(str, cases)) for role, cases in lists.items()}


def _with_patients(found: Found, path: Path) -> Found:
    """Patients from patients.csv: columns image (or case) and patient."""
    if not path.is_file():
        return found
    columns, table = read_table(path)
    columns = [column.lower() for column in columns]
    rows = [{key.lower(): value for key, value in row.items()} for row in table]
    key = next((column for column in PATIENT_COLUMNS if column in columns), None)
    if key is None or "patient" not in columns:
        raise DataError(f"{path}: expected columns image, patient; found {', '.join(columns) or 'none'}")
    names = _names(found.cases)
    patients: dict[str, str] = {}
    unknown: list[str] = []
    for row in rows:
        image, patient = unicodedata.normalize("NFC", row[key]), row["patient"]
        case = names.get(image) or names.get(stem(Path(image)))
        if not patient:
            raise DataError(f"{path}: no patient for '{image}'; write one")
        if case is None:
            unknown.append(image)
        elif patients.setdefault(case, patient) != patient:
            raise DataError(f"{path}: '{image}' has patients {patients[case]} and {patient}; keep one row")
    findings = list(found.findings)
    if unknown and not patients:
        raise DataError(f"{path}: no name is an image here (first: {unknown[0]}); write the images' file names")
    if unknown:
        findings.append(f"patients.csv: {len(unknown)} names are no image here: {some(unknown)}")
    left = [case.id for case in found.cases if case.id not in patients]
    if left:
        findings.append(f"patients.csv: {len(left)} images are not in it and keep the inferred patient: {some(left)}")
    else:
        findings = [finding for finding in findings if not finding.startswith(ONE_PATIENT)]
    cases = tuple(replace(case, patient=patients.get(case.id, case.patient)) for case in found.cases)
    return replace(found, cases=cases, findings=tuple(findings))


def _with_split(found: Found, path: Path) -> Found:
    """The lists labelled, unlabelled, val and test from a split.json, unless that is a run's own."""
    if not path.is_file():
        return found
    if (path.parent / REQUEST).is_file():
        return replace(found, findings=(*found.findings, "split.json belongs to a run of fewmask and is left out"))
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: not valid JSON ({error}); correct it or remove it") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected an object with the lists {', '.join(LIST_KEYS)}")
    lists = {role: content[role] for role in LIST_KEYS if content.get(role)}
    return _with_lists(found, _lists(lists, path), path)


def _with_dataset(found: Found, content: Mapping[str, Any], path: Path) -> Found:
    """Name, channels, labels, ignored value and lists from dataset.yaml."""
    if not content:
        return found
    found = _with_lists(found, content["lists"], path)
    ignore = found.ignore if content.get("ignore") is None else content["ignore"]
    named = set((content.get("labels") or {}).values())
    if ignore in named and content.get("ignore") is None:
        ignore = None  # what the layout ignores is a class here
    return replace(
        found,
        name=str(content.get("name") or found.name),
        channels=content.get("channels") or found.channels,
        names=content.get("labels") or found.names,
        ignore=ignore,
        merged=content["merge"] or {old: new for old, new in found.merged.items() if old not in named},
        colours=content["colours"] or found.colours,
    )


def _with_lists(found: Found, lists: Mapping[str, tuple[str, ...]], path: Path) -> Found:
    """The lists in place of the layout's own ones of the same roles; DataError where an entry is no case."""
    if not lists:
        return found
    names = _names(found.cases)

    def known(entry: str) -> str:
        entry = unicodedata.normalize("NFC", entry)
        case, colon, index = entry.rpartition(":")
        if colon and index.isdecimal() and case in names:
            return f"{names[case]}:{index}"
        if entry not in names:
            raise DataError(f"{path}: '{entry}' is no case here{nearest(entry, names)}")
        return names[entry]

    read = {role: tuple(known(entry) for entry in entries) for role, entries in lists.items()}
    return replace(found, lists={**found.lists, **read})


def _names(cases: tuple[Case, ...]) -> dict[str, str]:
    """Every name by which a user may call a case -> its id: the id, and the image's name where no two share it."""
    names: dict[str, str] = {}
    shared: set[str] = set()
    for case in cases:
        name = stem(case.images[0])
        if name in names:
            shared.add(name)
        names[name] = case.id
    return {name: id_ for name, id_ in names.items() if name not in shared} | {case.id: case.id for case in cases}
