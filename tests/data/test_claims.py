"""What bytes on disk can unpack to."""

from __future__ import annotations

import bz2
import gzip
import tracemalloc
import zlib

import pytest

from fewmask.data.claims import SLACK, can_hold, unpacked


def test_the_most_that_deflate_packs_is_believed_and_no_more() -> None:
    claimed = 64 * SLACK
    packed = len(zlib.compress(bytes(claimed), 9))
    assert can_hold(packed, claimed)
    assert not can_hold(packed, 2 * claimed)
    assert can_hold(0, SLACK) and not can_hold(0, SLACK + 1)


@pytest.mark.parametrize(
    "codec, pack", [("raw", bytes), ("gzip", gzip.compress), ("gzip", zlib.compress), ("bzip2", bz2.compress)]
)
def test_as_much_as_was_claimed_and_no_more(codec, pack) -> None:
    assert unpacked(pack(b"abcdefgh"), codec, 5) == b"abcde"
    with pytest.raises(ValueError, match="8 bytes where the header promises 9"):
        unpacked(pack(b"abcdefgh"), codec, 9)
    bomb = pack(bytes(2**25)) if codec != "raw" else b"12345"
    tracemalloc.start()
    unpacked(bomb, codec, 5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22


@pytest.mark.parametrize("codec", ["gzip", "bzip2", "hex"])
def test_what_cannot_be_unpacked(codec) -> None:
    with pytest.raises(ValueError, match=r"damaged|encoding 'hex'"):
        unpacked(b"no such thing", codec, 5)
