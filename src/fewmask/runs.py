"""A run folder: where its parts lie, how they are written so that no half-written file can be met, and its log."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from fewmask.errors import DataError, OutOfMemory, SettingsError

REQUEST = "request.json"
"""What a run folder was begun with."""
LOCK = ".fewmask.lock"
RECORD = ".fewmask.jsonl"
"""Beside predictions: which model made which file from what."""


def written_here(folder: Path) -> bool:
    """Whether `folder` is fewmask's own, a run or predictions: its pictures are results, no data."""
    run = (folder / REQUEST).is_file() and (folder / "split.json").is_file()
    return run or (folder / LOCK).is_file() or (folder / RECORD).is_file()


@dataclass(frozen=True)
class Run:
    """The layout of a run folder; every path is inside `root`, so the folder can be moved."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "config.yaml"

    @property
    def split(self) -> Path:
        return self.root / "split.json"

    @property
    def environment(self) -> Path:
        return self.root / "environment.json"

    @property
    def log(self) -> Path:
        return self.root / "log.jsonl"

    @property
    def catalogue(self) -> Path:
        return self.root / "catalogue"

    @property
    def last(self) -> Path:
        """The newest checkpoint: the state to resume from and, beside it, its model."""
        return self.root / "last"

    @property
    def best(self) -> Path:
        """The model with the highest Dice on val; absent without val."""
        return self.root / "best"

    @property
    def model(self) -> Path:
        """The model to use: a copy of best/, or of last/ without val.  Its presence says that training is complete."""
        return self.root / "model"

    @property
    def pseudo(self) -> Path:
        return self.root / "pseudo"

    @property
    def predictions(self) -> Path:
        return self.root / "predictions"

    @property
    def evaluation(self) -> Path:
        return self.root / "evaluation"

    @property
    def audit(self) -> Path:
        return self.root / "audit"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder against a second writer; the lock ends with the process, however that ends.

        Raises SettingsError if another process holds it.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with open(self.root / LOCK, "a+") as file:
            _HELD.add(file)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _HELD.discard(file)
                file.seek(0)
                raise SettingsError(
                    f"{self.root}: process {file.read().strip() or '?'} is writing to this folder; "
                    "wait for it or choose another --out"
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            try:
                yield
            finally:
                _HELD.discard(file)
                self._leave_no_empty_folder()

    def _leave_no_empty_folder(self) -> None:
        """A command that was refused before it wrote anything leaves no folder behind."""
        if [entry.name for entry in self.root.iterdir()] == [LOCK]:
            (self.root / LOCK).unlink()
            self.root.rmdir()


def existing_run(folder: Path) -> Run:
    """The run in `folder`.  Raises DataError where there is none."""
    run = Run(folder)
    if not run.split.is_file():
        raise DataError(f"{folder}: no run in it (no split.json); give the folder that `fewmask run --out` wrote")
    return run


_HELD: set[TextIO] = set()
"""The locks of this process."""


def _let_go() -> None:
    """A forked child shares its parent's locks: a loader's process would hold them for seconds after a kill."""
    for file in _HELD:
        file.close()
    _HELD.clear()


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say what goes wrong while `path` is written by its name: OutOfMemory on a full disk, else SettingsError.

    Python's own errors carry no name when a disk is full, and a temporary one otherwise.
    """
    try:
        yield
    except OSError as error:
        # numpy's error carries no number: fewer bytes were written than it wanted
        if error.errno in (errno.ENOSPC, errno.EDQUOT, None):
            raise OutOfMemory(f"{path}: the disk is full; free some or choose another folder") from None
        blocked = isinstance(error, FileExistsError | NotADirectoryError)
        reason = "a file is where its folder should be" if blocked else error.strerror
        raise SettingsError(f"{path}: cannot be written ({reason}); choose another folder") from None


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A stream whose content appears under `path` only when it is complete and on disk; errors as in `writing`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            with suppress(OSError):  # where the folder cannot be written there is none
                temporary.unlink(missing_ok=True)


def atomic_write(path: Path, content: str | bytes) -> None:
    """Write `path` whole or not at all."""
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def append_log(path: Path, entry: Mapping[str, Any]) -> None:
    """Add one line to a JSON-lines log."""
    with writing(path), open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(entry, allow_nan=False) + "\n")


def read_log(path: Path) -> list[dict[str, Any]]:
    """The entries of a JSON-lines log; a last line cut short by a kill is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1] if line]


def truncate_log(path: Path, step: int) -> None:
    """Drop the entries after `step`: a resumed run writes them again."""
    kept = [entry for entry in read_log(path) if entry["step"] <= step]
    atomic_write(path, "".join(json.dumps(entry) + "\n" for entry in kept))


COMMAND: ContextVar[list[str] | None] = ContextVar("command", default=None)
"""The words of the command line that is being carried out; None where fewmask is called from Python."""


def record_environment(run: Run, device: str) -> None:
    """environment.json: versions, device, git commit and command, so that a number can be traced."""
    entry = {
        "fewmask": _version("fewmask"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: _version(name) for name in ("torch", "monai", "numpy", "scipy", "nibabel", "h5py")},
        "device": device,
        "git_commit": _git_commit(),
        "command": COMMAND.get(),
    }
    atomic_write(run.environment, json.dumps(entry, indent=2) + "\n")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """The commit of the source tree if fewmask runs from one; `+` marks uncommitted changes.

    An installed fewmask may lie in someone else's repository, which does not know this file.
    """
    tree = Path(__file__).parent
    try:
        known = ["git", "ls-files", "--error-unmatch", Path(__file__).name]
        if subprocess.run(known, cwd=tree, capture_output=True, timeout=10).returncode != 0:
            return None
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tree, capture_output=True, text=True, timeout=10)
        changed = subprocess.run(["git", "diff", "--quiet", "HEAD"], cwd=tree, capture_output=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return commit.stdout.strip() + ("+" if changed.returncode == 1 else "") if commit.returncode == 0 else None
