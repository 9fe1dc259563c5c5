"""What a file's header may claim before memory is taken for it: a damaged one asks for anything, a bomb for all."""

from __future__ import annotations

MAX_VALUES = 2**31
"""More voxels than this is no honest image."""
DEFLATE_RATIO = 1032
"""No deflate stream expands further."""
SLACK = 2**20
"""Bytes that may follow the voxels, and that a small file may claim beyond the ratio."""


def can_hold(stored: int, claimed: int) -> bool:
    """Whether `stored` bytes, packed or not, can unpack to `claimed` bytes."""
    return claimed <= DEFLATE_RATIO * stored + SLACK
