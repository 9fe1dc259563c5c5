"""MS-CMRSeg 2019 (Zhuang et al., Medical Image Analysis 81, 2022): late enhancement (LGE) of 45 patients.

patientN_LGE.nii.gz and patientN_LGE_manual.nii.gz lie in several folders of the download.  Which patients published
tables hold out is not stated anywhere, so there are no lists.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fewmask.data.datasets.official import counted, matching, required
from fewmask.data.layouts.found import Found, in_order
from fewmask.types import Case

NAMES = {"background": 0, "MYO": 200, "LV": 500, "RV": 600}


def read(folder: Path) -> Found:
    """The LGE sequence of every patient; C0 and T2 have other slices and are left out."""
    pattern = r"patient(?P<number>\d+)_LGE(?P<mask>_manual)?\.nii(\.gz)?"
    files = {(int(match["number"]), bool(match["mask"])): path for path, match in matching(folder, pattern)}
    cases = (
        Case(id=f"patient{n}_LGE", patient=f"patient{n}", images=(path,), label=files.get((n, True)))
        for (n, is_mask), path in files.items()
        if not is_mask
    )
    cases = in_order(required(cases, folder, "patient1_LGE.nii.gz with patient1_LGE_manual.nii.gz"))
    others = sum(1 for _ in matching(folder, r"patient\d+_(C0|T2)\.nii(\.gz)?"))
    said = (f"{others} images of the sequences C0 and T2 are left out: they have other slices",) if others else ()
    found = Found(cases=cases, name="MS-CMRSeg 2019", names=NAMES)
    return replace(found, findings=(*said, *counted(found, cases=45, patients=45, masks=45)))
