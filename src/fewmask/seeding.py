"""One seed -> named, independent generators; the same names and numbers give the same stream on any machine."""

from __future__ import annotations

import hashlib

import numpy as np


def derive(*key: int | str) -> int:
    """A 63-bit seed that depends on every part of `key` and on nothing else.

    `derive(seed, "view", stream, index)` is how each piece of chance in fewmask is named.
    """
    text = "\x1f".join(str(part) for part in key)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(*key: int | str) -> np.random.Generator:
    """A numpy generator seeded by `derive(*key)`."""
    return np.random.Generator(np.random.Philox(derive(*key)))
