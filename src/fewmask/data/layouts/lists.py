"""Lists of case names beside the data: train.list, val.txt, test.list, ..."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path

from fewmask.data.folders import visible
from fewmask.errors import DataError

ROLES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "eval": "val",
    "test": "test",
    "testing": "test",
    "labelled": "labelled",
    "labeled": "labelled",
    "unlabelled": "unlabelled",
    "unlabeled": "unlabelled",
}
"""What a list or a folder may be called, and the role it gives."""


def list_files(folder: Path) -> dict[str, list[Path]]:
    """Role -> its list files; `train_slices.list` counts as `train`, after `train.list`."""
    files: dict[str, list[Path]] = {}
    for path in visible(folder):
        if path.suffix.lower() in (".list", ".txt", ".lst"):
            role = ROLES.get(re.sub(r"[-_]?(slices?|list|set|ids|cases|patients)$", "", path.stem.lower()))
            if role:
                files.setdefault(role, []).append(path)
    return {role: sorted(paths, key=lambda path: len(path.stem)) for role, paths in files.items()}


def entries(path: Path) -> list[str]:
    """The names in a list file, composed (NFC): one a line, without trailing commas and comments."""
    try:
        text = unicodedata.normalize("NFC", path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise DataError(f"{path}: not text; write one case a line, UTF-8") from None
    lines = (line.strip().rstrip(",").strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def read_lists(
    folder: Path, known: Callable[[str], str | None]
) -> tuple[Mapping[str, tuple[str, ...]], tuple[str, ...]]:
    """Role -> case ids in the order of the lists, and findings.  `known(line)` -> the case's id, None if not there.

    Lines without a file are left out and reported; a list of which nothing is there is an error unless it names slices.
    """
    lists: dict[str, tuple[str, ...]] = {}
    findings: list[str] = []
    for role, paths in list_files(folder).items():
        cases: dict[str, None] = {}
        for path in paths:
            lines = entries(path)
            found = [(line, known(line)) for line in lines]
            missing = [line for line, case in found if case is None]
            slices = "slice" in path.stem.lower()
            if lines and len(missing) == len(lines) and not slices:
                raise DataError(f"{path}: none of its {len(lines)} lines names a file (first: {lines[0]}); correct it")
            if missing and not slices:
                findings.append(f"{path.name}: {len(missing)} of {len(lines)} lines have no file, first {missing[0]}")
            cases.update((case, None) for _, case in found if case is not None)
        if cases:
            lists[role] = tuple(cases)
    return lists, tuple(findings)
