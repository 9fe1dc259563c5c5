"""The record beside predictions: which model made which file from what, so that a rerun skips only its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fewmask.data import formats
from fewmask.errors import SettingsError
from fewmask.runs import RECORD, append_log, atomic_write, read_log
from fewmask.types import Case


class Record:
    """out/.fewmask.jsonl: a line before a case is written and one after, so that a kill between them is seen."""

    def __init__(self, out: Path, key: Mapping[str, Any]) -> None:
        """key: the model's hash and all settings on which a result depends."""
        self.out, self.path, self.key = out, out / RECORD, dict(key)
        self.entries: dict[str, dict[str, Any]] = {entry["case"]: entry for entry in read_log(self.path)}
        if self.entries:  # one line a case again, and none cut short
            atomic_write(self.path, "".join(json.dumps(entry) + "\n" for entry in self.entries.values()))

    def finished(self, case: Case, files: Mapping[str, str]) -> bool:
        """Whether `files` are there, made of the same images with the same key."""
        entry = self.entries.get(case.id)
        return (
            entry is not None
            and entry["done"]
            and entry["key"] == self.key
            and entry["sources"] == _sources(case)
            and files.items() <= entry["files"].items()
            and all((self.out / name).is_file() for name in files.values())
        )

    def begin(self, case: Case, files: Mapping[str, str]) -> None:
        """Announce that `files` will be written.  Raises SettingsError where one of them is not ours to replace."""
        ours = self.entries.get(case.id, {}).get("files", {}).values()
        for name in files.values():
            if name not in ours and (self.out / name).exists():
                raise SettingsError(f"{self.out / name} is there and was not predicted here; choose another --out")
        self._add(case, files, done=False)

    def finish(self, case: Case, files: Mapping[str, str]) -> None:
        """State that `files` are complete."""
        self._add(case, files, done=True)

    def _add(self, case: Case, files: Mapping[str, str], done: bool) -> None:
        entry = {"case": case.id, "done": done, "key": self.key, "sources": _sources(case), "files": dict(files)}
        self.entries[case.id] = entry
        append_log(self.path, entry)


def _sources(case: Case) -> list[list[int | str]]:
    """What tells that an image changed."""
    return [[path.name, *formats.state(path)] for path in case.images]
