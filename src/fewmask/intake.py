"""Data in, and out to other tools: scan, with a repaired copy if asked; official downloads; nnU-Net's raw format."""

from __future__ import annotations

from pathlib import Path

from fewmask.data.casetable import Catalogue, read_catalogue, write_catalogue
from fewmask.data.datasets import convert as convert_download
from fewmask.data.nnunet_raw import Exported, export
from fewmask.data.repair import repair
from fewmask.data.scan import JOURNAL
from fewmask.data.scan import scan as scan_folder
from fewmask.data.split_file import read_split
from fewmask.runs import existing_run

StrPath = str | Path


def scan(
    data: StrPath,
    out: StrPath | None = None,
    *,
    layout: str | None = None,
    fix: StrPath | None = None,
    keep_ids: bool = False,
    quiet: bool = False,
) -> Catalogue:
    """Recognise the layout of `data`, check every file, and return the catalogue; also written to `out` if given.

    layout: the name of one, where it is not to be recognised.  fix: a folder for a repaired copy, which is then what
    the catalogue is of; its findings lie there in findings.csv and scan.html.  keep_ids: patients under their DICOM
    identifiers in place of codes.  With `out` the same call goes on where an earlier one stopped.  Raises DataError
    naming the file, what is wrong and the remedy.
    """
    if fix is not None:
        from fewmask.report.findings import FindingsPage  # matplotlib; a scan without it starts at once

        found = FindingsPage()
        repaired = repair(Path(data), Path(fix), found.add, layout, keep_ids, quiet)
        found.write(Path(fix) / "scan.html", repaired.name, len(repaired.cases))
        data, layout = fix, None
    journal = None if out is None else Path(out) / JOURNAL
    catalogue = scan_folder(Path(data), layout, quiet=quiet, keep_ids=keep_ids, journal=journal)
    if out is not None:
        write_catalogue(catalogue, Path(out))
    return catalogue


def convert(name: str, source: StrPath, out: StrPath, *, quiet: bool = False) -> Catalogue:
    """The catalogue, in `out`, of an official download: its cases, classes, published split, and counts.

    name: a key of fewmask.data.datasets.DATASETS.  Images stay where they are.
    """
    catalogue = convert_download(name, Path(source), journal=Path(out) / JOURNAL, quiet=quiet)
    write_catalogue(catalogue, Path(out))
    return catalogue


def export_nnunet(
    run: StrPath, out: StrPath, *, masks: StrPath | None = None, doubt: float = 0.3, quiet: bool = False
) -> Exported:
    """A run as a raw data set of nnU-Net in `out`, DatasetNNN_Name: true masks, and pseudo-labels with an ignore value.

    masks: where masks, uncertainty/ and trust.csv lie, None: the run's predictions.  doubt: entropy, 0 to 1, over which
    a voxel of a pseudo-label is ignored.  Unlabelled cases whose mask trust.csv rejects are left out.
    """
    from fewmask.audit import config_of  # torch; a scan starts without it
    from fewmask.order import preparation_for
    from fewmask.trust import TRUST, WHOLE, read_trust

    finished = existing_run(Path(run))
    folder = finished.predictions if masks is None else Path(masks)
    catalogue = read_catalogue(finished.catalogue)
    verdicts = read_trust(folder / TRUST) if (folder / TRUST).is_file() else []
    rejected = {one.case for one in verdicts if one.name == WHOLE and one.flag == "reject"}
    split = read_split(finished.split)
    preparation = preparation_for(catalogue, config_of(finished).plan)
    return export(
        catalogue, split, folder, Path(out), preparation=preparation, doubt=doubt, rejected=rejected, quiet=quiet
    )
