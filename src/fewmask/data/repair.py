"""A repaired copy of a data set: every finding with what was done; the original is never touched."""

from __future__ import annotations

import csv
import io
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from fewmask.data import formats
from fewmask.data.casetable import Catalogue, default_channels, write_catalogue
from fewmask.data.dicom import images as dicom
from fewmask.data.dicom.instance import patient_codes
from fewmask.data.dicom.series import arranged, kept_once
from fewmask.data.grid import Grid, Orientation, orientation
from fewmask.data.labels import resolve_labels, values_of
from fewmask.data.layouts.found import Found, identifier
from fewmask.data.mend import placed, renumbered, valued
from fewmask.data.scan import found_in
from fewmask.errors import DataError, SettingsError
from fewmask.progress import track
from fewmask.runs import atomic_write, writing
from fewmask.types import Case

FINDINGS = "findings.csv"
SEVERITIES = ("left out", "repaired", "note")
PICTURES = (".png", ".tif", ".tiff")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something wrong with a file, and what became of it; `severity` is one of SEVERITIES."""

    severity: str
    case: str
    file: str
    problem: str
    action: str


@dataclass(frozen=True, kw_only=True)
class View:
    """What a picture of a finding shows: the image (C, D, H, W), the mask before and after (D, H, W) or None."""

    image: np.ndarray
    grid: Grid
    before: np.ndarray | None
    after: np.ndarray | None


Seen = Callable[[Finding, View | None], None]


def repair(
    data: Path, out: Path, seen: Seen, layout: str | None = None, keep_ids: bool = False, quiet: bool = False
) -> Catalogue:
    """Write a repaired copy of `data` to `out`, a folder that is not there yet, and return its catalogue.

    `out` holds images/, masks/, cases.csv, dataset.yaml and findings.csv; `seen` is told of each finding as it is made,
    with what can be shown of it.  SettingsError where `out` is there, DataError where nothing of the data can be used.
    """
    if out.exists():
        raise SettingsError(
            f"--fix {out}: is there already; name a folder that is not, the copy is never made in place"
        )
    if out.resolve().is_relative_to(data.resolve()):
        raise SettingsError(f"--fix {out}: lies in the data; name a folder outside")
    name, found = found_in(data, layout, keep_ids, empty=True)
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        work = _Copy(part, found, seen)
        for case in track(found.cases, "fix", len(found.cases), quiet=quiet):
            work.add(case)
        if name == "dicom":
            work.add_duplicated(data, keep_ids)
        catalogue = work.finished(found.name or data.resolve().name)
        with writing(out):
            part.chmod(0o755)
            part.rename(out)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    cases = tuple(
        replace(case, images=tuple(_moved(p, part, out) for p in case.images), label=_moved(case.label, part, out))
        for case in catalogue.cases
    )
    return replace(catalogue, cases=cases)


def _moved(path: Path | None, part: Path, out: Path) -> Path | None:
    return None if path is None else out / path.relative_to(part)


class _Copy:
    """The copy in the making."""

    def __init__(self, folder: Path, found: Found, seen: Seen) -> None:
        self.folder, self.found, self.seen = folder, found, seen
        self.cases: list[Case] = []
        self.findings: list[Finding] = []
        self.values: dict[Path, tuple[float, ...]] = {}
        self.names: dict[str, int] = dict(found.names or {})
        self.binary = self._mixes_1_and_255()
        orders = Counter(turn for case in found.cases if (turn := _order(case)) is not None)
        self.mixed = len(orders) > 1
        """Whether images lie in several orientations, so that all are brought into one."""
        self.channels: Counter[int] = Counter()

    def add(self, case: Case) -> None:
        """Copy a case, mended where it must be; a case whose image cannot be read is left out."""
        try:
            image, grid = formats.read_case_image(case)
        except (DataError, OSError) as error:
            self._say("left out", case, case.images[0], _reason(error, case.images[0]), "the case is not in the copy")
            return
        mask, told, before = self._mask(case, image, grid)
        turn = orientation(grid, slices=False) if self.mixed and grid.affine is not None else Orientation()
        if turn != Orientation():
            view = View(image=image, grid=grid, before=mask, after=mask)
            said = ("repaired", case, case.images[0], "the data set lies in several orientations", "turned to RAS+")
            self._say(*said, view=view)
        for problem, action in (text.split(": ", 1) for text in told):
            view = View(image=image, grid=grid, before=before, after=mask)
            self._say("repaired", case, case.label, problem, action, view=view)
        self._write(case, image, grid, mask, turn, changed=bool(told))

    def add_duplicated(self, data: Path, keep_ids: bool) -> None:
        """DICOM series that were skipped for several slices at one place: with the first of each place.

        Other skipped series are told.
        """
        for row in self.found.series:
            if row["verdict"] == "skipped" and not row["why"].startswith("duplicate"):
                case = Case(id=row["series"], patient="", images=(data / row["series"],))
                harmless = row["why"] == "localiser"
                self._say("note" if harmless else "left out", case, case.images[0], row["why"], "not in the copy")
        instances, _ = dicom.instances_below(data, deep=True)
        codes = {} if keep_ids else patient_codes(instances)
        for series in arranged(instances):
            if not series.skipped.startswith("duplicate"):
                continue
            home = series.first.path.parent
            name = identifier("_".join(home.relative_to(data).parts) or home.resolve().name)
            patient = codes.get(series.first.patient, series.first.patient)
            case = Case(id=name, patient=patient, images=(home,))
            mended = kept_once(series)
            if mended.skipped or any(other.id == name for other in self.cases):
                self._say("left out", case, home, series.skipped, "the series is not in the copy")
                continue
            image, grid = dicom.read_series(mended, home)
            view = View(image=image, grid=grid, before=None, after=None)
            self._say("repaired", case, home, series.skipped, mended.notes[-1], view=view)
            self._write(case, image, grid, None, Orientation(), changed=False)

    def finished(self, name: str) -> Catalogue:
        """Write catalogue and findings; DataError where no image is left or the values are in doubt."""
        if not self.cases:
            why = self.findings[0].problem if self.findings else "there is none"
            raise DataError(f"{name}: no image could be read ({why}); nothing to copy")
        usual = self.channels.most_common(1)[0][0]
        labels, said = resolve_labels(self.values, self.names or None, self.found.ignore, self.found.merged)
        labels = replace(labels, colours=self.found.colours)
        known = {case.id for case in self.cases}
        lists = {role: tuple(c for c in ids if c.partition(":")[0] in known) for role, ids in self.found.lists.items()}
        named = self.found.channels
        catalogue = Catalogue(
            name=name,
            channels=named if named and len(named) == usual else default_channels(usual),
            labels=labels,
            planar=all(formats.read_header(case.images[0]).grid.shape[0] == 1 for case in self.cases),
            layout="table",
            cases=tuple(self.cases),
            lists={role: ids for role, ids in lists.items() if ids},
            findings=said,
        )
        write_catalogue(catalogue, self.folder)
        self.findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
        text = io.StringIO()
        writer = csv.DictWriter(text, list(Finding.__annotations__), lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(finding) for finding in self.findings)
        atomic_write(self.folder / FINDINGS, text.getvalue())
        return catalogue

    def _mask(
        self, case: Case, image: np.ndarray, grid: Grid
    ) -> tuple[np.ndarray | None, list[str], np.ndarray | None]:
        """The mask on the image's grid, what was done to it, and what it was (None where it cannot be shown so)."""
        if case.label is None:
            return None, [], None
        try:
            raw, own = formats.read_mask(case.label, case.images[0], self.found.colours)
            mask, moved = placed(raw, own, grid)
            jpeg = case.label.suffix.lower() in (".jpg", ".jpeg")
            mask, cleaned = valued(mask, bool(self.names), jpeg)
            names = formats.mask_names(case.label)
            mask, set_ = renumbered(mask, names, self.names) if names else (mask, "")
            joined = ""
            if self.binary and (mask == 255).any():
                mask, joined = (mask > 0).astype(np.uint8), "255 where other masks hold 1: set to 1"
        except (DataError, OSError) as error:
            view = View(image=image, grid=grid, before=None, after=None)
            said = ("left out", case, case.label, _reason(error, case.label), "the case is copied without a mask")
            self._say(*said, view=view)
            return None, [], None
        before = raw if raw.shape == grid.shape else None
        return mask, [text for text in (moved, cleaned, set_, joined) if text], before

    def _mixes_1_and_255(self) -> bool:
        """Whether, of a data set without names, some masks hold 0 and 1, and others 0 and 255."""
        if self.names:
            return False
        kinds = set()
        for case in self.found.cases:
            if case.label is not None and (formats.suffix(case.label) in PICTURES or len(kinds) < 2):
                try:
                    kinds.add(values_of(formats.read_mask(case.label, colours=self.found.colours)[0]))
                except (DataError, OSError):
                    continue
        return {(0, 1), (0, 255)} <= kinds and all(set(values) <= {0, 1, 255} for values in kinds)

    def _write(
        self, case: Case, image: np.ndarray, grid: Grid, mask: np.ndarray | None, turn: Orientation, changed: bool
    ) -> None:
        """Files of one case: copied byte by byte where nothing is changed, else written anew."""
        self.channels[len(image)] += 1
        several = any(formats.is_dicom(path) or formats.suffix(path) == ".mhd" for path in case.images)  # files in one
        kept = turn == Orientation() and not several and not formats.regridded(case)
        turned = turn.apply_grid(grid)
        if kept:
            images = tuple(self._copied(path, "images", case.id, index) for index, path in enumerate(case.images))
        else:
            volume = turn.apply(image)
            images = (self.folder / "images" / f"{case.id}.nii.gz",)
            formats.write_volume(images[0], _compact(volume if len(volume) > 1 else volume[0]), turned, None)
        label = None
        if mask is not None:
            whole = mask.astype(np.uint8 if mask.max(initial=0) < 256 else np.uint16)
            if kept and case.label == case.images[0] and not changed:
                label = images[0]
            elif kept and not changed and not formats.is_dicom(case.label) and formats.suffix(case.label) != ".mhd":
                label = self._copied(case.label, "masks", case.id, 0)
            else:
                picture = kept and formats.suffix(case.images[0]) in (*PICTURES, ".jpg", ".jpeg", ".bmp")
                label = self.folder / "masks" / f"{case.id}{'.png' if picture else '.nii.gz'}"
                formats.write_mask(label, turn.apply(whole), turned, case.images[0] if kept else None)
            self.values[case.label] = values_of(whole)
        self.cases.append(replace(case, images=images, label=label))

    def _copied(self, path: Path, folder: str, case: str, index: int) -> Path:
        home = self.folder / folder
        home.mkdir(exist_ok=True)
        ending = formats.suffix(path)
        target = home / f"{case}{f'_{index:04d}' if index else ''}{ending}"
        shutil.copyfile(path, target)
        return target

    def _say(
        self, severity: str, case: Case, file: Path, problem: str, action: str, *, view: View | None = None
    ) -> None:
        finding = Finding(severity=severity, case=case.id, file=str(file), problem=problem, action=action)
        self.findings.append(finding)
        self.seen(finding, view)


def _order(case: Case) -> Orientation | None:
    """The orientation of a volume; None of pictures, and where it is unknown or the header is broken."""
    try:
        grid = formats.read_header(case.images[0]).grid
    except (DataError, OSError):
        return None
    return None if grid.affine is None or grid.planar else orientation(grid, slices=False)


def _reason(error: Exception, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ")


def _compact(volume: np.ndarray) -> np.ndarray:
    """Whole values as int16 where they fit, else float32."""
    if np.abs(volume).max(initial=0) <= 32767 and (volume == np.rint(volume)).all():
        return volume.astype(np.int16)
    return volume
