"""A model and a collection of images -> a folder of masks, what they rest on, and trust.csv."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from fewmask.config import Predict, nearest, validated
from fewmask.data import formats
from fewmask.data.cache import Preparation
from fewmask.data.colours import slicer_table, snap_labels
from fewmask.data.dicom.write_segmentation import require_highdicom
from fewmask.device import choose_device
from fewmask.errors import SettingsError
from fewmask.inputs import input_cases
from fewmask.memory import check_memory
from fewmask.prediction import estimate_case, predict_case
from fewmask.predictors import Model, find_model, load_model, model_hash
from fewmask.progress import say, track
from fewmask.record import Record
from fewmask.runs import atomic_write, writing
from fewmask.trust import EVIDENCE, LEVELS, TRUST, Level, judge, members, read_calibration, read_evidence, write_trust
from fewmask.types import Case

MOST_SAMPLES = 1000
"""The error of a mean falls with the root of their number: more of them tell nothing that these do not."""
FORMATS = {"nifti": ".nii.gz", "nrrd": ".seg.nrrd", "png": ".png", "dicom-seg": ".dcm"}
"""Format of masks -> suffix."""
RASTER = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


def predict(
    model_folder: Path,
    inputs: Sequence[Path],
    out: Path,
    *,
    probabilities: bool = False,
    uncertainty: bool = False,
    samples: int = 1,
    keep_samples: bool = False,
    trust: Level = "quick",
    format: str | None = None,
    settings: Predict | None = None,
    device: str = "auto",
    quiet: bool = False,
    cases: Sequence[Case] | None = None,
) -> list[Path]:
    """Write the mask of every case to `out`/<id>.nii.gz, .seg.nrrd, .png or .dcm and return their paths.

    inputs: files, folders, data sets or catalogues; cases: given directly instead.  probabilities and uncertainty also
    write out/probabilities/<id>.nii.gz (classes last) and out/uncertainty/<id>.nii.gz; several samples of a model that
    draws at random do so, too: of their mean.  keep_samples: each one's mask in out/samples/<id>/.  trust other than
    none also writes out/trust.csv and what it rests on, out/evidence/<id>.json.  format: a key of FORMATS, None: PNG
    for pictures, else NIfTI, with colour tables for 3D Slicer and ITK-SNAP beside.  What the same model wrote before
    with the same settings from the same files is kept.  Raises SettingsError, DataError, OutOfMemory.
    """
    settings = settings or Predict()
    if format is not None and format not in FORMATS:
        raise SettingsError(f"--format {format}{nearest(format, FORMATS)}")
    if trust not in LEVELS:
        raise SettingsError(f"--trust {trust}{nearest(trust, LEVELS)}")
    if not 1 <= samples <= MOST_SAMPLES:
        raise SettingsError(f"--samples {samples}: at least 1, at most {MOST_SAMPLES}")
    if keep_samples and samples == 1:
        raise SettingsError("--keep-samples: one sample is the mask itself; ask for more, such as --samples 8")
    device = choose_device(device)
    model = load_model(model_folder)
    if settings.flips and not model.flip:
        raise SettingsError(f"--flips: {model_folder} learnt no mirrored images; leave it out, or train with plan.flip")
    if samples > 1 and model.predictor.stochastic:
        probabilities = uncertainty = True
    elif samples > 1:
        if keep_samples:
            raise SettingsError(f"--keep-samples: {model_folder} draws nothing at random; leave it and --samples out")
        say("predict: this model draws nothing at random; --samples changes nothing", quiet)
    chosen = input_cases(inputs, model.channels) if cases is None else list(cases)
    drawn = samples if keep_samples else 0
    names = {case.id: _files(case, format, probabilities, uncertainty, trust, drawn) for case in chosen}
    key = {"model": model_hash(model_folder), "flips": settings.flips, "overlap": settings.overlap, "samples": samples}
    if trust == "full":
        key["trust"] = trust
    for path in inputs:
        if path.resolve() == out.resolve():
            raise SettingsError(f"--out {out}: the folder of the images; name another one, masks are no images")
    record = Record(out, key)
    origin = f"fewmask {key['model'][:12]}"
    due = [case for case in chosen if not record.finished(case, names[case.id])]
    if due:
        say(_announcement(model, due, len(chosen), settings, uncertainty, max(1, drawn), trust), quiet)
    _make_folders(out, probabilities, uncertainty, trust)  # after the headers were read: what is refused leaves none
    for case in track(due, "predict", len(due), quiet=quiet):
        record.begin(case, names[case.id])
        found = predict_case(
            model,
            case,
            settings=settings,
            device=device,
            samples=samples,
            probabilities=probabilities,
            uncertainty=uncertainty,
            keep_samples=keep_samples,
            trust=trust,
            scratch=out,
        )
        like = case.images[0]
        for number in range(drawn):
            path = out / names[case.id][f"sample {number}"]
            path.parent.mkdir(parents=True, exist_ok=True)
            formats.write_mask(
                path, found.samples[number], found.grid, like, model.labels, f"{origin}, sample {number}"
            )
        if probabilities:
            formats.write_volume(out / names[case.id]["probabilities"], found.probabilities, found.grid, like)
        if uncertainty:
            formats.write_volume(out / names[case.id]["uncertainty"], found.entropy, found.grid, like)
        if found.evidence:
            atomic_write(out / names[case.id]["evidence"], found.evidence.to_json())
        formats.write_mask(out / names[case.id]["mask"], found.mask, found.grid, like, model.labels, origin)
        record.finish(case, names[case.id])
    if any(files["mask"].endswith(".nii.gz") for files in names.values()):
        atomic_write(out / "labels.ctbl", slicer_table(model.labels))
        atomic_write(out / "labels.itksnap.txt", snap_labels(model.labels))
    if trust != "none":
        write_verdicts(find_model(model_folder), out)
    return [out / names[case.id]["mask"] for case in chosen]


def write_verdicts(model_folder: Path, out: Path) -> None:
    """trust.csv of all masks in `out` that this model made, with the calibration that lies beside it; the least
    trusted case first."""
    model = model_hash(model_folder)
    calibration = read_calibration(model_folder, model)
    cases = [
        judge(read_evidence(out / entry["files"]["evidence"]), calibration)
        for entry in Record(out, {}).entries.values()
        if entry["done"] and entry["key"]["model"] == model and "evidence" in entry["files"]
    ]
    cases.sort(key=lambda rows: (rows[0].rank, rows[0].case))
    write_trust((row for rows in cases for row in rows), out / TRUST)


def _files(
    case: Case, format: str | None, probabilities: bool, uncertainty: bool, trust: Level, samples: int = 0
) -> dict[str, str]:
    """What is written for a case: kind -> path within the output folder."""
    picture = formats.suffix(case.images[0]) in RASTER
    ending = FORMATS[format or ("png" if picture else "nifti")]
    if ending == ".png" and not picture and formats.read_header(case.images[0]).grid.shape[0] != 1:
        shape = formats.read_header(case.images[0]).grid.shape
        raise SettingsError(f"--format png: {case.id} has shape {shape}, a picture holds one slice; use nifti")
    if ending == ".dcm":
        require_highdicom()
        if not formats.is_dicom(case.images[0]):
            raise SettingsError(f"--format dicom-seg: {case.images[0]} is no DICOM series; use nifti or nrrd")
    files = {"mask": f"{case.id}{ending}"}
    if probabilities:
        files["probabilities"] = f"probabilities/{case.id}.nii.gz"
    if uncertainty:
        files["uncertainty"] = f"uncertainty/{case.id}.nii.gz"
    digits = len(str(samples - 1))
    files |= {f"sample {number}": f"samples/{case.id}/{number:0{digits}d}{ending}" for number in range(samples)}
    if trust != "none":
        files["evidence"] = f"{EVIDENCE}/{case.id}.json"
    return files


def _announcement(
    model: Model, due: Sequence[Case], total: int, settings: Predict, uncertainty: bool, apart: int, trust: Level
) -> str:
    """One line on what is to come, after the largest case was found to fit."""
    preparation = validated(Preparation, model.preparation, where="preparation")
    asked = len(members(model, trust))
    needs = [(estimate_case(model, case, preparation, settings, uncertainty, apart, asked), case.id) for case in due]
    need, largest = max(needs, key=lambda pair: pair[0].peak)
    check_memory(largest, need, settings.batch)
    shape = formats.read_header(next(case for case in due if case.id == largest).images[0]).grid.shape
    return (
        f"predict: {len(due)} of {total} cases; the largest, {largest} ({' x '.join(map(str, shape))}), "
        f"takes about {need.peak / 1e9:.2f} GB of memory"
    )


def _make_folders(out: Path, probabilities: bool, uncertainty: bool, trust: Level) -> None:
    parts = {"probabilities": probabilities, "uncertainty": uncertainty, EVIDENCE: trust != "none"}
    for folder in (out, *(out / name for name, wanted in parts.items() if wanted)):
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
