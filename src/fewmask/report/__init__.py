"""Run folders -> one self-contained HTML file: what was learned from what, how well, how it looks, how to go on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fewmask.data.catalogue import Catalogue
from fewmask.errors import SettingsError
from fewmask.report.comparison import several_runs
from fewmask.report.page import page
from fewmask.report.record import read_records
from fewmask.report.review import review_scripts, reviewable
from fewmask.report.single import one_run
from fewmask.runs import atomic_write


def report(runs: Sequence[Path], out: Path, catalogue: Catalogue | None = None, volumes: int = 0) -> Path:
    """Write the report of one or several run folders to `out`, and return that path.

    volumes: how many of the least trusted cases of one run are put into the file whole, to be turned and cut in the
    browser; each takes about as much as its compressed image.  catalogue: for runs that hold none of their own; without
    either there are no pictures.  Masks of unlabelled cases are never opened.  Raises DataError where a folder is no
    run or one of its files is broken.
    """
    if volumes < 0:
        raise SettingsError(f"--volumes {volumes}: 0 or more")
    if not runs:
        raise SettingsError("report: no run folder given; name at least one")
    records = read_records([Path(run) for run in runs], catalogue)
    title = records[0].catalogue.name if records[0].catalogue else records[0].name
    single = len(records) == 1
    content = one_run(records[0], volumes) if single else several_runs(records)
    scripts = review_scripts(volumes) if single and reviewable(records[0]) else ()
    atomic_write(Path(out), page(f"{title} – fewmask report", *content, scripts=scripts))
    return Path(out)
