"""What a user asks of a role: `--labelled 3`, `10%`, `20 frames`, a file of names, or a name."""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path

from fewmask.config import nearest
from fewmask.data.casetable import Catalogue
from fewmask.data.layouts.lists import entries
from fewmask.errors import DataError, SettingsError


@dataclass(frozen=True)
class Request:
    """One of: `count` groups, a `share` of the groups, or `names` of cases (also case:slice), given in `source`.

    frames: count and share are of single images with masks, spread evenly over the groups.
    """

    source: str
    count: int | None = None
    share: float | None = None
    names: tuple[str, ...] | None = None
    frames: bool = False


@dataclass(frozen=True)
class Exemplar:
    """A case or case:slice to learn from alone, never a number or a file, whatever it is called."""

    name: str


def read_request(text: str | Exemplar | None, role: str, catalogue: Catalogue) -> Request | None:
    """The request in `text`; None for None, and for a split.json that says nothing of the role.

    SettingsError where the text cannot be meant, DataError where a file names what is not there.
    """
    if text is None:
        return None
    if isinstance(text, Exemplar):
        return Request(f"--exemplar {text.name}", names=_cases([text.name], role, catalogue, "--exemplar"))
    text = str(text).strip()
    if amount := re.fullmatch(r"([-+]?\d+(?:\.\d+)?\s*%?)\s*(frames?|images?)?", text):
        if amount[2] and role != "labelled":
            raise SettingsError(
                f"--{role} {text}: whole patients or sequences alone; write --{role} {amount[1].strip()}"
            )
        return replace(_amount(amount[1].strip(), role), source=text, frames=bool(amount[2]))
    path = Path(text)
    if path.is_file():
        names = _from_json(path, role) if path.suffix.lower() == ".json" else entries(path)
        if not names and role == "labelled":
            raise DataError(f"{path}: names no case; write one case, case:slice or patient a line")
        return Request(str(path), names=_cases(names, role, catalogue, str(path))) if names else None
    if _known(text, catalogue) is not None:
        return Request(text, names=_cases([text], role, catalogue, f"--{role}"))
    if path.suffix.lower() in (".txt", ".json", ".list", ".lst", ".csv") or path.parent != Path("."):
        raise DataError(f"--{role} {text}: no such file; check the path")
    raise SettingsError(f"--{role} {text}: neither a number, a percentage, a file, a case nor a patient")


def _amount(text: str, role: str) -> Request:
    number = float(text.removesuffix("%"))
    least = 1 if role == "labelled" else 0
    if text.endswith("%"):
        if not 0 < number <= 100 and not (number == 0 and least == 0):
            raise SettingsError(f"--{role} {text}: a percentage lies between 0 and 100")
        return Request(text, share=number / 100)
    if not number.is_integer():
        raise SettingsError(f"--{role} {text}: a number of patients is whole; for a share write {text}%")
    if number < least:
        raise SettingsError(f"--{role} {text}: at least {least}; leave it out for the default")
    return Request(text, count=int(number))


def _from_json(path: Path, role: str) -> list[str]:
    """The role's list in a split.json."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: not valid JSON ({error}); correct it") from None
    names = content.get(role, []) if isinstance(content, dict) else None
    if not isinstance(names, list):
        raise DataError(f"{path}: expected an object with the list '{role}'")
    return [str(name) for name in names]


def _cases(names: list[str], role: str, catalogue: Catalogue, where: str) -> tuple[str, ...]:
    """Names of cases, slices and groups -> cases and case:slice entries, each once."""
    found: dict[str, None] = {}
    for name in names:
        known = _known(name, catalogue)
        if known is None:
            close = nearest(name, [*catalogue.by_id, *catalogue.groups])
            raise DataError(f"{where}: '{name}' is no case and no patient of {catalogue.name}{close}")
        if ":" in known[0] and role != "labelled":
            raise DataError(f"{where}: '{name}' is one slice; {role} takes whole cases")
        found.update(dict.fromkeys(known))
    return tuple(found)


def _known(name: str, catalogue: Catalogue) -> list[str] | None:
    """What a name stands for: a case, a slice of one, or the cases with a mask of a group (of all, if none has)."""
    name = re.sub(r"^(group|patient|case)\s*=\s*", "", unicodedata.normalize("NFC", name))
    if name in catalogue.by_id:
        return [name]
    case, colon, index = name.rpartition(":")
    if colon and index.isdecimal() and case in catalogue.by_id:
        return [f"{case}:{int(index)}"]
    group = catalogue.groups.get(name)
    if group is None:
        return None
    return [case.id for case in group if case.label] or [case.id for case in group]


def case_of(entry: str, catalogue: Catalogue) -> str:
    """The case of an entry `case` or `case:slice`; the entry itself where it is neither."""
    case, colon, index = entry.rpartition(":")
    return case if entry not in catalogue.by_id and colon and index.isdecimal() else entry
