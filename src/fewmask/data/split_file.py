"""split.json: who plays which role, with a hash of what it says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from fewmask.config import nearest
from fewmask.errors import DataError
from fewmask.runs import atomic_write
from fewmask.types import ROLES, Split


def write_split(split: Split, path: Path) -> None:
    """split.json, with a hash of what it says."""
    content = _content(split)
    atomic_write(path, json.dumps({**content, "hash": _hash(content)}, indent=2, ensure_ascii=False) + "\n")


def read_split(path: Path) -> Split:
    """The split in split.json.  A hash, where there is one, must fit; leave it out when writing by hand."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; make one with: fewmask split") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: not valid JSON ({error}); correct it, or make it anew with: fewmask split") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected an object with the lists {', '.join(ROLES)}")
    for key in content:
        if key not in (*ROLES, "seed", "hash"):
            raise DataError(f"{path}: unknown key '{key}'{nearest(key, (*ROLES, 'seed', 'hash'))}")
    for role in ROLES:
        entries = content.get(role, [])
        if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
            raise DataError(f"{path}: '{role}' must be a list of cases")
        if len(set(entries)) < len(entries):
            raise DataError(f"{path}: '{role}' names a case twice; remove one")
    seed = content.get("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise DataError(f"{path}: seed {seed!r} is no whole number")
    split = Split(**{role: tuple(content.get(role, ())) for role in ROLES}, seed=seed)
    if content.get("hash") and content["hash"] != _hash(_content(split)):
        raise DataError(f"{path}: changed since it was written; if that was meant, remove its line 'hash'")
    return split


def _content(split: Split) -> dict[str, list[str] | int]:
    return {**{role: list(getattr(split, role)) for role in ROLES}, "seed": split.seed}


def _hash(content: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
