"""A task of the Medical Segmentation Decathlon (Antonelli et al., Nature Communications 13, 2022) as it is unpacked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fewmask.data.datasets.official import counted
from fewmask.data.layouts import decathlon
from fewmask.data.layouts.dataset_json import read_dataset_json
from fewmask.data.layouts.found import Found
from fewmask.errors import DataError


def read(folder: Path) -> Found:
    """The cases of dataset.json, held against the numbers that it states."""
    if not decathlon.recognise(folder):
        raise DataError(f"{folder}: no dataset.json that lists its images; give the folder TaskNN_Name")
    content = read_dataset_json(folder)
    found = decathlon.read(folder)
    training, test = (content.get(key) for key in ("numTraining", "numTest"))
    if not isinstance(training, int) or not isinstance(test, int):
        return found
    return replace(found, findings=(*found.findings, *counted(found, cases=training + test, masks=training)))
