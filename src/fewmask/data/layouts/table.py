"""A catalogue written by hand: cases.csv, with a dataset.yaml beside it if need be."""

from __future__ import annotations

from pathlib import Path

from fewmask.data.layouts.case_csv import read_cases
from fewmask.data.layouts.found import Found

FILE = "cases.csv"


def recognise(folder: Path) -> bool:
    """Whether cases.csv is there."""
    return (folder / FILE).is_file()


def read(folder: Path) -> Found:
    """The cases of the table; names and lists come from dataset.yaml, which is read for every layout."""
    return Found(cases=read_cases(folder / FILE))
