"""What a file's header may claim before memory is taken for it: a damaged one asks for anything, a bomb for all."""

from __future__ import annotations

import bz2
import zlib

MAX_VALUES = 2**31
"""More voxels than this is no honest image."""
DEFLATE_RATIO = 1032
"""No deflate stream expands further."""
SLACK = 2**20
"""Bytes that may follow the voxels, and that a small file may claim beyond the ratio."""


def can_hold(stored: int, claimed: int) -> bool:
    """Whether `stored` bytes, packed or not, can unpack to `claimed` bytes."""
    return claimed <= DEFLATE_RATIO * stored + SLACK


def unpacked(stored: bytes, codec: str, claimed: int) -> bytes:
    """`stored` bytes, unpacked to exactly `claimed`; no more memory than that is taken, whatever they would become.

    codec: raw, gzip (also a bare zlib stream) or bzip2.  Raises ValueError where they give fewer or are damaged.
    """
    if codec == "raw":
        found = stored[:claimed]
    elif codec == "gzip":
        unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
        try:
            found = unpacker.decompress(stored, claimed)
        except zlib.error as error:
            raise ValueError(f"damaged: {error}") from None
    elif codec == "bzip2":
        try:
            found = bz2.BZ2Decompressor().decompress(stored, claimed)
        except OSError as error:
            raise ValueError(f"damaged: {error}") from None
    else:
        raise ValueError(f"encoding '{codec}' is not read")
    if len(found) < claimed:
        raise ValueError(f"{len(found)} bytes where the header promises {claimed}: cut short")
    return found
