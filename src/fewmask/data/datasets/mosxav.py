"""MOSXAV: X-ray angiography videos with masks of vessels, catheters and balloons (github.com/xilin-x/MOSXAV).

Counts are those of the public release; its own pages state others (50 sequences, 2,335 frames), of an earlier state.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fewmask.data.datasets.official import counted, recognised
from fewmask.data.layouts import mosxav as layout
from fewmask.data.layouts.found import Found

VAL = tuple(f"trainval_v{n:02d}" for n in (1, 4, 7, 8, 11, 13, 15, 16, 18, 19, 21, 28))
"""Sequences of the official val list; the other 18 of trainval are train."""


def read(folder: Path) -> Found:
    """Every frame of both halves; a copy without ImageSets/ gets the published lists."""
    found = layout.read(recognised(folder, layout, "trainval/JPEGImages with trainval/Annotations_Semantic"))
    lists = dict(found.lists)
    if not {"train", "val"} & lists.keys():
        halves = [case for case in found.cases if case.patient.startswith("trainval_")]
        lists["train"] = tuple(case.id for case in halves if case.patient not in VAL)
        lists["val"] = tuple(case.id for case in halves if case.patient in VAL)
    found = replace(found, name="MOSXAV", lists={role: ids for role, ids in lists.items() if ids})
    said = counted(found, cases=1905, patients=42, masks=960, train=851, val=566, test=488)
    return replace(found, findings=(*found.findings, *said))
