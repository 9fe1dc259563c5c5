"""cases.csv of a catalogue: case, patient, images (separated by `;`), label, site.  Only `images` is a must."""

from __future__ import annotations

import csv
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from fewmask.config import nearest
from fewmask.data.formats import stem
from fewmask.data.layouts.found import identifier, in_order, patient_of
from fewmask.errors import DataError
from fewmask.types import Case

COLUMNS = ("case", "patient", "images", "label", "site")


def read_cases(path: Path) -> tuple[Case, ...]:
    """The cases of a cases.csv; relative paths start at its folder.

    An empty `case` is the image's name, an empty `patient` what the name tells.  DataError on unknown columns, on a
    row without images, on an image that is not there, and on two rows of one case.  Masks are not looked for: after
    `split` those of unlabelled cases may be gone.
    """
    columns, rows = read_table(path)
    for column in columns:
        if column not in COLUMNS:
            raise DataError(f"{path}: unknown column '{column}'{nearest(column, COLUMNS)}")
    if "images" not in columns:
        raise DataError(f"{path}: no column 'images'; the columns are {', '.join(COLUMNS)}")
    if not rows:
        raise DataError(f"{path}: no cases; write one row a case")
    return in_order(_case(row, f"{path} line {number}", path.parent) for number, row in enumerate(rows, start=2))


def read_table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The columns of a CSV file and its rows, all without the spaces around them; an absent value is "".

    DataError where it is no table, or has two columns of one name.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, restval="")
            columns = [column.strip() for column in reader.fieldnames or ()]
            twice = next((column for column, times in Counter(columns).items() if times > 1), None)
            if twice is not None:
                raise DataError(f"{path}: two columns are called '{twice}'; remove or rename one")
            rows = [{key.strip(): value.strip() for key, value in row.items() if key is not None} for row in reader]
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8 text; save it as CSV UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{path}: no CSV table ({error}); save it as CSV UTF-8") from None
    return columns, rows


def write_cases(cases: Iterable[Case], stream: TextIO, folder: Path | None) -> None:
    """The rows of cases.csv, with paths relative to `folder`, where the file will lie; None: absolute ones."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for case in cases:
        images = [_relative(image, folder) for image in case.images]
        for image in images:
            if ";" in image:
                raise DataError(f"{image}: ';' separates the images of a case; rename the file or its folder")
        label = _relative(case.label, folder) if case.label else ""
        writer.writerow([case.id, case.patient, ";".join(images), label, case.site])


def _case(values: dict[str, str], where: str, folder: Path) -> Case:
    images = tuple(_path(text.strip(), folder) for text in values.get("images", "").split(";") if text.strip())
    if not images:
        raise DataError(f"{where}: no images; write the path of the image file")
    for image in images:
        if not image.exists():
            raise DataError(f"{where}: {image} is not there; correct the path")
    name = unicodedata.normalize("NFC", values.get("case") or identifier(stem(images[0])))
    if name != identifier(name):
        raise DataError(f"{where}: case '{name}' contains '/' or ':', which a case may not; rename it")
    return Case(
        id=name,
        patient=values.get("patient") or patient_of(name),
        images=images,
        label=_path(values["label"], folder) if values.get("label") else None,
        site=values.get("site", ""),
    )


def _path(text: str, folder: Path) -> Path:
    return Path(os.path.normpath(folder / text))


def _relative(path: Path, folder: Path | None) -> str:
    """`path` as seen from `folder`; absolute where that is None, or there is no way between them (another drive)."""
    if folder is None:
        return path.absolute().as_posix()
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:
        return path.resolve().as_posix()
