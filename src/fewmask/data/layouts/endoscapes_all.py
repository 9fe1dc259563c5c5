"""Endoscapes2023 as layout `endoscapes`, with the unlabelled frames of all training videos; asked for by name."""

from __future__ import annotations

from pathlib import Path

from fewmask.data.layouts.endoscapes import read_frames, recognise
from fewmask.data.layouts.found import Found

__all__ = ["read", "recognise"]


def read(folder: Path) -> Found:
    """A case a frame; videos are the groups."""
    return read_frames(folder, all_videos=True)
