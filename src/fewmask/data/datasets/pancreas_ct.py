"""NIH Pancreas-CT (Roth et al., MICCAI 2015; TCIA): DICOM series PANCREAS_NNNN, masks labelNNNN.nii.gz.

The split is that of MC-Net and others: 62 patients to learn from, 20 test; it has no validation list.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

from fewmask.data.datasets.official import counted, lists_of, matching, required
from fewmask.data.layouts import dicom_tree
from fewmask.data.layouts.found import Found, in_order
from fewmask.errors import DataError

NAMES = {"background": 0, "pancreas": 1}
TEST = (1, 4, 5, 6, 8, 9, 21, 25, 37, 39, 40, 46, 50, 51, 54, 59, 60, 67, 73, 74)


def read(folder: Path) -> Found:
    """One case a patient, called PANCREAS_NNNN as its folder is."""
    masks = {int(match["number"]): path for path, match in matching(folder, r"label(?P<number>\d{4})\.nii(\.gz)?")}
    found = dicom_tree.read(folder)
    cases = []
    for case in found.cases:
        number = re.search(r"PANCREAS_(\d{4})", str(case.images[0].relative_to(folder)))
        if number is not None:
            cases.append(replace(case, id=number[0], patient=number[0], label=masks.get(int(number[1]))))
    cases = required(cases, folder, "PANCREAS_0001/.../*.dcm with label0001.nii.gz elsewhere in the folder")
    twice = [name for name, times in Counter(case.id for case in cases).items() if times > 1]
    if twice:
        raise DataError(f"{folder}: {twice[0]} has several series; take out those that are not the CT")
    cases = in_order(cases)
    lists = lists_of(cases, {"test": [f"PANCREAS_{number:04d}" for number in TEST]})
    result = Found(cases=cases, name="Pancreas-CT", names=NAMES, lists=lists, series=found.series)
    counts = counted(result, cases=82, masks=82, train=62, test=20)
    return replace(result, findings=(*found.findings, *counts))
