"""What bytes on disk can unpack to."""

from __future__ import annotations

import zlib

from fewmask.data.claims import SLACK, can_hold


def test_the_most_that_deflate_packs_is_believed_and_no_more() -> None:
    claimed = 64 * SLACK
    packed = len(zlib.compress(bytes(claimed), 9))
    assert can_hold(packed, claimed)
    assert not can_hold(packed, 2 * claimed)
    assert can_hold(0, SLACK) and not can_hold(0, SLACK + 1)
