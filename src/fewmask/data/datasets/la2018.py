"""Left atrium, Atrial Segmentation Challenge 2018 (Xiong et al., Medical Image Analysis 67, 2021): NRRD.

<id>/lgemri.nrrd and <id>/laendo.nrrd.  The split of the 100 training volumes is that of UA-MT: 80 to learn from, 20
test; it has no validation list.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fewmask.data.datasets.official import counted, lists_of, matching, required
from fewmask.data.layouts.found import Found, in_order
from fewmask.types import Case

NAMES = {"background": 0, "left atrium": 255}
TEST = (
    *("UPT6DX9IQY9JAZ7HJKA7", "UTBUJIWZMKP64E3N73YC", "ULHWPWKKLTE921LQLH1P", "V0MZOWJ6MU3RMRCV9EXR"),
    *("VDOF02M8ZHEAADFMS6NP", "VG4C826RAAKVMV9BQLVD", "VIXBEFTNVHZWKAKURJBN", "VQ2L3WM8KEVF6L44E6G9"),
    *("WBG9WYZ1B25WDT5WAT8T", "WMDG2EFA6L2SNDZXIRU0", "WNPKE0W404QE9AELX1LR", "WSJB9P4JCXUVHBOYFVWL"),
    *("WW8F5CO4S4K5IM5Z7EXX", "X18LU5AOBNNDMLTA0JZL", "XYDLYJ5CS19FDBVLJIPI", "Y7ZU0B2APPF54WG6PDMF"),
    *("YDKD1HVHSME6NVMA8I39", "Z9GMG63CJLL0VW893BB1", "ZIJLJAVQV3FJ6JSQOH1E", "ZQPMJ4XEC5A4BISD45P1"),
)


def read(folder: Path) -> Found:
    """Every volume; the cavity (laendo) is the mask, the wall is left out."""
    cases = []
    for image, _ in matching(folder, r"lgemri\.nrrd"):
        mask = image.with_name("laendo.nrrd")
        name = image.parent.name
        cases.append(Case(id=name, patient=name, images=(image,), label=mask if mask.is_file() else None))
    cases = in_order(required(cases, folder, "Training Set/<id>/lgemri.nrrd with laendo.nrrd beside"))
    found = Found(cases=cases, name="LA 2018", names=NAMES, lists=lists_of(cases, {"test": TEST}))
    return replace(found, findings=counted(found, cases=100, masks=100, train=80, test=20))
