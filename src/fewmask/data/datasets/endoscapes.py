"""Endoscapes2023 (Murali et al., arXiv:2312.12429), frames of gallbladder surgery: the masks that are public (Seg50).

The report's abstract says 422 frames with masks; the download, and everybody who used it, has 493.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fewmask.data.datasets.official import counted, recognised
from fewmask.data.layouts import endoscapes as layout
from fewmask.data.layouts.found import Found


def read(folder: Path) -> Found:
    """Frames with masks by the published lists, and the unlabelled frames of the 30 videos to learn from."""
    found = layout.read(recognised(folder, layout, "semseg/ with train_seg/, val_seg/ and test_seg/"))
    found = replace(found, name="Endoscapes2023")
    said = counted(found, patients=50, masks=493, train=343, val=76, test=74)
    return replace(found, findings=(*found.findings, *said))
