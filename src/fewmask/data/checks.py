"""The files of each case, read and checked, with a journal from which a scan that stopped goes on."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from fewmask import __version__
from fewmask.data.formats import mask_names, read_case_image, read_mask, regridded, state
from fewmask.data.grid import difference
from fewmask.data.labels import values_of
from fewmask.device import cores
from fewmask.errors import DataError
from fewmask.progress import track
from fewmask.runs import append_log, read_log, writing
from fewmask.types import Case, Colour

MAX_THREADS = 4
"""Each holds one image in memory; more threads wait for the disk."""

AHEAD = 4
"""Cases that are handed out for each thread: what is held does not grow with the data set."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """What one case's files hold: a few numbers, so that any number of cases can be remembered.

    `values` are those of the mask, None without one, `names` its class names where its file says them; `digest` tells
    equal images; `regridded` are channel files that lie on another grid than the first.
    """

    case: str
    planar: bool
    channels: int
    digest: str
    values: tuple[float, ...] | None
    names: Mapping[str, int] | None = None
    regridded: tuple[str, ...] = ()


def check_case(case: Case, colours: Mapping[Colour, int] | None = None) -> Check:
    """Read the image and the mask of a case; colours: of masks in colours.

    DataError where a file is broken or the two do not lie on one grid.
    """
    image, grid = read_case_image(case)
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).data)
    values = names = None
    if case.label is not None:
        if not case.label.exists():
            raise DataError(
                f"case '{case.id}': its mask {case.label} is not there; correct the path, or leave it empty"
            )
        mask, mask_grid = read_mask(case.label, case.images[0], colours)
        apart = difference(grid, mask_grid)
        if apart:
            raise DataError(
                f"{case.label}: mask and image {case.images[0].name} differ in {apart}; "
                "resample the mask onto the image with nearest neighbour (`fewmask scan --fix` does), "
                "or give the mask of this image"
            )
        values, names = values_of(mask), mask_names(case.label)
    return Check(
        case=case.id,
        planar=grid.shape[0] == 1,
        channels=len(image),
        digest=digest.hexdigest(),
        values=values,
        names=names,
        regridded=tuple(path.name for path in regridded(case)),
    )


class Journal:
    """A file with a line for every case that was found good, and what told its files apart then."""

    def __init__(self, path: Path | None, colours: Mapping[Colour, int] | None = None) -> None:
        """path: None keeps nothing; colours: with which masks in colours are read."""
        self.path = path
        self.colours = sorted([*colour, value] for colour, value in (colours or {}).items())
        self._entries = {} if path is None else _entries(path)

    def known(self, case: Case) -> Check | None:
        """The check of a case whose files are those of then."""
        entry = self._entries.get(case.id)
        if entry is None or entry["files"] != _files(case) or entry.get("colours", []) != self.colours:
            return None
        kept = entry["check"]
        values = None if kept["values"] is None else tuple(kept["values"])
        return Check(**{**kept, "values": values, "regridded": tuple(kept["regridded"])})

    def add(self, case: Case, check: Check) -> None:
        """Remember a check.  Values that JSON cannot hold (NaN, infinity) are left to the next scan."""
        if self.path is not None and all(map(math.isfinite, check.values or ())):
            with writing(self.path.parent):
                self.path.parent.mkdir(parents=True, exist_ok=True)
            entry = {"case": case.id, "version": __version__, "files": _files(case), "check": asdict(check)}
            append_log(self.path, {**entry, "colours": self.colours} if self.colours else entry)


def _entries(path: Path) -> dict[str, dict[str, Any]]:
    """Case -> its newest line; none of other versions of fewmask, and none of a file that was damaged."""
    try:
        return {entry["case"]: entry for entry in read_log(path) if entry["version"] == __version__}
    except (ValueError, KeyError, TypeError):
        return {}


def _files(case: Case) -> list[list[Any]]:
    """What tells that the files of a case changed."""
    return [[str(path), *state(path)] for path in (*case.images, *([case.label] if case.label else []))]


def check_all(
    cases: Sequence[Case],
    workers: int | None,
    quiet: bool,
    journal: Path | None = None,
    colours: Mapping[Colour, int] | None = None,
) -> tuple[list[Check], dict[str, DataError]]:
    """A check for every case that is good, in their order, and what is wrong with the others.

    Images are held by `workers` threads only, however many cases there are.
    """
    workers = workers or min(MAX_THREADS, cores())
    kept = Journal(journal, colours)
    checks: dict[str, Check] = {}
    errors: dict[str, DataError] = {}
    with warnings.catch_warnings():
        # Filters belong to all threads at once: readers that change them for a moment leave a mess, which ends here.
        warnings.simplefilter("ignore")
        with ThreadPoolExecutor(workers) as pool:
            try:
                done = _in_turn(pool, cases, kept, workers * AHEAD, colours)
                for case, found in track(done, "scan", len(cases), quiet=quiet):
                    try:
                        checks[case.id] = found.result()
                    except DataError as error:
                        errors[case.id] = error
                    except OSError as error:
                        errors[case.id] = DataError(f"{error.filename or case.images[0]}: {error.strerror}; mend it")
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    return [checks[case.id] for case in cases if case.id in checks], errors


def _in_turn(
    pool: ThreadPoolExecutor,
    cases: Sequence[Case],
    journal: Journal,
    ahead: int,
    colours: Mapping[Colour, int] | None,
) -> Iterator[tuple[Case, Future[Check]]]:
    """Cases with their checks as they are done; no more than `ahead` are under way."""
    waiting = iter(cases)
    under_way = {pool.submit(_check, case, journal, colours): case for case in islice(waiting, ahead)}
    while under_way:
        done, _ = wait(under_way, return_when=FIRST_COMPLETED)
        for future in done:
            case = under_way.pop(future)
            for following in islice(waiting, 1):
                under_way[pool.submit(_check, following, journal, colours)] = following
            if future.exception() is None and journal.known(case) is None:
                journal.add(case, future.result())
            yield case, future


def _check(case: Case, journal: Journal, colours: Mapping[Colour, int] | None) -> Check:
    return journal.known(case) or check_case(case, colours)
