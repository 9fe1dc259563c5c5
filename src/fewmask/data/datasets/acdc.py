"""ACDC (Bernard et al., IEEE TMI 37(11), 2018): training/patientNNN with Info.cfg, two frames and their masks.

The split is that of SSL4MIS: 70 patients to learn from, 10 val, 20 test, all of the 100 of training/.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from fewmask.data.datasets.official import counted, lists_of, matching, required
from fewmask.data.layouts.found import Found, in_order
from fewmask.errors import DataError
from fewmask.types import Case

NAMES = {"background": 0, "RV": 1, "MYO": 2, "LV": 3}
VAL = (2, 19, 28, 30, 39, 45, 78, 82, 85, 87)
TEST = (1, 7, 8, 11, 13, 22, 24, 33, 52, 59, 64, 65, 66, 68, 75, 80, 81, 83, 84, 93)


def read(folder: Path) -> Found:
    """End diastole and end systole of every patient."""
    cases = []
    files = {path.name: path for path, _ in matching(folder, r"patient\d+_frame\d+(_gt)?\.nii(\.gz)?")}
    for info, _ in matching(folder, r"Info\.cfg"):
        patient = info.parent.name
        for frame in _frames(info):
            stem = f"{patient}_frame{frame:02d}"
            image = next((files[stem + end] for end in (".nii.gz", ".nii") if stem + end in files), None)
            mask = next((files[stem + "_gt" + end] for end in (".nii.gz", ".nii") if stem + "_gt" + end in files), None)
            if image is None:
                raise DataError(f"{info}: names frame {frame}, but {stem}.nii.gz is not there; unpack it again")
            cases.append(Case(id=stem, patient=patient, images=(image,), label=mask))
    cases = in_order(required(cases, folder, "training/patient001/Info.cfg with patient001_frame01.nii.gz beside"))
    official = [case for case in cases if int(case.patient[-3:]) > 100]
    findings: tuple[str, ...] = ()
    if official and len(official) < len(cases):
        cases = tuple(case for case in cases if case not in official)
        findings = (
            f"{len(official)} cases of the official test patients (101 and up) are left out: "
            "published tables with few labels split the first 100; convert testing/ by itself to have them",
        )
    held_out = {role: [f"patient{number:03d}" for number in ids] for role, ids in (("val", VAL), ("test", TEST))}
    found = Found(cases=cases, name="ACDC", names=NAMES, lists=lists_of(cases, held_out), findings=findings)
    counts = {"cases": 200, "patients": 100, "masks": 200, "train": 140, "val": 20, "test": 40}
    return replace(found, findings=(*findings, *counted(found, **counts)))


def _frames(info: Path) -> list[int]:
    """The numbers of end diastole and end systole."""
    text = info.read_text(encoding="utf-8", errors="replace")
    numbers = [re.search(rf"^{name}:\s*(\d+)\s*$", text, re.MULTILINE) for name in ("ED", "ES")]
    if not all(numbers):
        raise DataError(f"{info}: no lines 'ED: number' and 'ES: number'; unpack the download again")
    return [int(number[1]) for number in numbers]
