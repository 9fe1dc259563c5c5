"""review.json, as the report exports it, -> a catalogue for the next round: accepted masks become labels.

A mask is taken over only if it is still the one that was looked at.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from fewmask.config import nearest
from fewmask.data import formats
from fewmask.data.catalogue import Catalogue, read_catalogue, write_catalogue
from fewmask.data.grid import difference
from fewmask.data.split_file import read_split, write_split
from fewmask.data.splits import check_split
from fewmask.errors import DataError, SettingsError
from fewmask.runs import Run, atomic_write, writing
from fewmask.types import Case, LabelSet

Decision = Literal["accept", "fix", "reject"]
DECISIONS: tuple[Decision, ...] = get_args(Decision)
FORMAT = 1
KEYS = ("case", "decision", "grade", "note", "mask")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One reviewed case.  grade: 1 (unusable) to 5 (perfect) or None; mask: SHA-256 of the file that was looked at."""

    case: str
    decision: Decision | None
    grade: int | None
    note: str
    mask: str


@dataclass(frozen=True, kw_only=True)
class Review:
    """run: the folder that was reviewed, as the report knew it."""

    run: Path
    entries: tuple[Entry, ...]


@dataclass(frozen=True, kw_only=True)
class Applied:
    """What became of a review: cases by decision, and where the next round's catalogue and split are."""

    out: Path
    accepted: tuple[str, ...]
    fixed: tuple[str, ...]
    to_fix: tuple[str, ...]
    rejected: tuple[str, ...]
    held_out: tuple[str, ...]
    """Accepted ones of val and test: their role forbids learning from them."""

    def to_json(self) -> dict[str, Any]:
        return {name: str(value) if name == "out" else list(value) for name, value in vars(self).items()}


def mask_hash(path: Path) -> str:
    """Identifies a mask file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_review(path: Path) -> Review:
    """The review in a file.  Raises DataError naming the entry that is wrong."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; export it from report.html with the key x") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: not valid JSON ({error}); export it again") from None
    if not isinstance(content, dict) or not isinstance(content.get("reviews"), list):
        raise DataError(f"{path}: no list 'reviews'; give the file that report.html exports")
    if content.get("format") != FORMAT:
        raise DataError(f"{path}: format {content.get('format')!r}, this fewmask reads {FORMAT}; update it")
    entries = [_entry(values, f"{path}: reviews[{number}]") for number, values in enumerate(content["reviews"])]
    names = [entry.case for entry in entries]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DataError(f"{path}: case '{twice}' is reviewed twice; remove one")
    return Review(run=Path(str(content.get("run", ""))), entries=tuple(entries))


def _entry(values: Any, where: str) -> Entry:
    if not isinstance(values, dict) or not isinstance(values.get("case"), str):
        raise DataError(f"{where}: no case; export the review again")
    for key in values:
        if key not in KEYS:
            raise DataError(f"{where}: unknown key '{key}'{nearest(key, KEYS)}")
    decision, grade, note = values.get("decision"), values.get("grade"), values.get("note", "")
    if decision is not None and decision not in DECISIONS:
        raise DataError(f"{where}: decision {decision!r}; one of {', '.join(DECISIONS)}")
    if grade is not None and (isinstance(grade, bool) or grade not in range(1, 6)):
        raise DataError(f"{where}: grade {grade!r}; 1 to 5 or null")
    if not isinstance(note, str) or not isinstance(values.get("mask", ""), str):
        raise DataError(f"{where}: note and mask are text; export the review again")
    return Entry(case=values["case"], decision=decision, grade=grade, note=note, mask=values.get("mask", ""))


def apply_review(
    review: Path, out: Path | None = None, *, run: Path | None = None, fixed: Path | None = None
) -> Applied:
    """Write a catalogue and split.json for the next round to `out` (None: beside the run, `<run>-next`).

    Accepted masks are copied to out/masks and become labels; those to fix lie in out/fix to be corrected; fixed: folder
    of corrected masks, which become labels too.  Val and test stay as they were.  run: where the run is now, None: as
    the review says.

    Raises SettingsError where `out` holds something, DataError for a case that the run does not have, a mask that has
    changed since it was reviewed, and a corrected mask that does not fit its image.
    """
    read = read_review(review)
    folder = Run(run or read.run)
    if not folder.split.is_file():
        raise DataError(f"{folder.root}: no run folder; say with --run where the reviewed run is now")
    out = out or folder.root.with_name(f"{folder.root.resolve().name}-next")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SettingsError(f"--out {out}: there is something already; name a new folder")
    catalogue, split = read_catalogue(folder.catalogue), read_split(folder.split)
    held_out = {*split.val, *split.test}
    wanted: dict[str, list[str]] = {decision: [] for decision in DECISIONS}
    masks: dict[str, Path] = {}
    for entry in read.entries:
        if entry.case not in catalogue.by_id:
            known = nearest(entry.case, catalogue.by_id)
            raise DataError(
                f"{review}: case '{entry.case}' is not in {folder.root}{known}; give its own run with --run"
            )
        if entry.decision is None:
            continue
        wanted[entry.decision].append(entry.case)
        if entry.decision != "reject" and entry.case not in held_out:
            masks[entry.case] = _reviewed(folder, entry, review)
    corrected = _corrected(fixed, wanted["fix"], catalogue)
    taken = [case for case in (*wanted["accept"], *corrected) if case not in held_out]
    if not taken:
        raise DataError(f"{review}: no case to learn from is accepted or fixed; accept some, or give --fixed")

    with writing(out):
        for name in ("masks", *(["fix"] if wanted["fix"] else [])):
            (out / name).mkdir(parents=True, exist_ok=True)
        labels = {}
        for case in taken:
            source = corrected.get(case, masks.get(case))
            labels[case] = out / "masks" / f"{case}{formats.suffix(source)}"
            shutil.copyfile(source, labels[case])
        to_fix = [case for case in wanted["fix"] if case not in corrected and case in masks]
        for case in to_fix:
            shutil.copyfile(masks[case], out / "fix" / masks[case].name)
    cases = tuple(replace(case, label=labels.get(case.id, case.label)) for case in catalogue.cases)
    following = replace(catalogue, cases=cases, lists={})
    new = set(taken)
    whole = tuple(entry for entry in split.labelled if entry.rpartition(":")[0] not in new and entry not in new)
    roles = replace(
        split,
        labelled=(*whole, *taken),
        unlabelled=tuple(case for case in split.unlabelled if case not in new),
    )
    write_catalogue(following, out, absolute=True)
    write_split(check_split(roles, following), out / "split.json")
    atomic_write(out / "review.csv", _table(read))
    return Applied(
        out=out,
        accepted=tuple(case for case in wanted["accept"] if case in new),
        fixed=tuple(case for case in corrected if case in new),
        to_fix=tuple(to_fix),
        rejected=tuple(wanted["reject"]),
        held_out=tuple(case for case in wanted["accept"] if case in held_out),
    )


def prediction_of(run: Run, case: str) -> Path | None:
    """The predicted mask of a case, whatever its format."""
    paths = (run.predictions / f"{case}{suffix}" for suffix in formats.READERS)
    return next((path for path in paths if path.is_file()), None)


def _reviewed(run: Run, entry: Entry, review: Path) -> Path:
    path = prediction_of(run, entry.case)
    if path is None:
        raise DataError(f"{review}: '{entry.case}' has no mask in {run.predictions}; predict it again")
    if entry.mask and mask_hash(path) != entry.mask:
        raise DataError(f"{path} is not the mask that was reviewed; write the report anew and look at it again")
    return path


def _corrected(fixed: Path | None, asked: list[str], catalogue: Catalogue) -> dict[str, Path]:
    """case -> corrected mask, of those that were to be fixed."""
    if fixed is None:
        return {}
    if not fixed.is_dir():
        raise DataError(f"--fixed {fixed}: no such folder")
    found: dict[str, Path] = {}
    for case in asked:
        paths = [fixed / f"{case}{suffix}" for suffix in formats.READERS]
        if path := next((path for path in paths if path.is_file()), None):
            _check_mask(path, catalogue.by_id[case], catalogue.labels)
            found[case] = path
    if not found:
        raise DataError(f"--fixed {fixed}: no mask of the {len(asked)} cases to fix; name each file as its case")
    return found


def _check_mask(path: Path, case: Case, labels: LabelSet) -> None:
    """Raise DataError where a corrected mask holds unknown values or does not lie on its image."""
    raw, grid = formats.read_mask(path, case.images[0])
    formats.encode_mask(raw, labels, str(path))
    if off := difference(grid, formats.read_header(case.images[0]).grid):
        raise DataError(f"{path}: {off}; save it on the grid of {case.images[0].name}")


def _table(read: Review) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "decision", "grade", "note"])
    for entry in read.entries:
        writer.writerow([entry.case, entry.decision or "", entry.grade or "", entry.note])
    return text.getvalue()


def applied_text(found: Applied, run: str = "") -> str:
    """What was done, for people, and the next command."""
    parts: Mapping[str, tuple[str, ...]] = {
        "accepted": found.accepted,
        "fixed": found.fixed,
        "to fix": found.to_fix,
        "rejected": found.rejected,
        "in val or test, left there": found.held_out,
    }
    lines = [f"{len(cases)} {name}" for name, cases in parts.items() if cases]
    if found.to_fix:
        lines.append(f"correct {found.out / 'fix'}, then repeat with --fixed {found.out / 'fix'} and a new --out")
    lines.append(f"next  fewmask run {found.out} --split {found.out / 'split.json'} --out NEXT_RUN")
    return "\n".join(lines)
