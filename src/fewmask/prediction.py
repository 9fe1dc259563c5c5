"""Model + images -> masks on the native grid, with the raw values of the user's own data set.  No mask is opened."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch

from fewmask.config import Predict, nearest, validated
from fewmask.data import formats
from fewmask.data.cache import Preparation
from fewmask.data.colours import slicer_table, snap_labels
from fewmask.data.conform import prepared_geometry
from fewmask.data.dicom.write_segmentation import require_highdicom
from fewmask.data.grid import Grid
from fewmask.device import choose_device
from fewmask.errors import DataError, OutOfMemory, SettingsError
from fewmask.inputs import input_cases
from fewmask.memory import FLOAT, Estimate, check_memory, estimate, memory_errors
from fewmask.predictors import Model, find_model, load_model, model_hash
from fewmask.progress import say, track
from fewmask.reading import read_prepared
from fewmask.record import Record
from fewmask.restore import native_rows
from fewmask.runs import atomic_write, writing
from fewmask.trust import (
    EVIDENCE,
    LEVELS,
    TRUST,
    Evidence,
    Level,
    judge,
    members,
    read_calibration,
    read_evidence,
    write_trust,
)
from fewmask.trust.opinions import Opinions
from fewmask.types import Case
from fewmask.windows import Windows, case_seed, evaluating, predict_prepared

__all__ = ["FORMATS", "Prediction", "predict", "predict_case", "predict_prepared"]

MOST_SAMPLES = 1000
"""The error of a mean falls with the root of their number: more of them tell nothing that these do not."""
FORMATS = {"nifti": ".nii.gz", "nrrd": ".seg.nrrd", "png": ".png", "dicom-seg": ".dcm"}
"""Format of masks -> suffix."""
RASTER = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What was found of one case, all in native order on `grid`.

    mask (D, H, W): raw values of the data set; probabilities (K, D, H, W) float32 and entropy (D, H, W) float32 in
    [0, 1] (that of equal probabilities is 1), None unless asked for, as are samples (R, D, H, W), each sample's mask,
    and the evidence for the trust in the mask.
    """

    mask: np.ndarray
    grid: Grid
    probabilities: np.ndarray | None = None
    entropy: np.ndarray | None = None
    samples: np.ndarray | None = None
    evidence: Evidence | None = None


def predict_case(
    model: Model,
    case: Case,
    *,
    settings: Predict,
    device: torch.device | str = "cpu",
    samples: int = 1,
    probabilities: bool = False,
    uncertainty: bool = False,
    keep_samples: bool = False,
    trust: Level = "none",
    scratch: Path | None = None,
) -> Prediction:
    """Read, prepare, predict and bring back one case.  Its label is not looked at.

    samples: predictions that are averaged, where the predictor draws at random; keep_samples: each one's mask, too;
    trust: how many opinions are asked besides, see `trust.members`; scratch: folder for the array of probabilities,
    which is as large as the result, None: in memory.  Raises DataError, OutOfMemory.
    """
    preparation = validated(Preparation, model.preparation, where="preparation")
    drawn = samples if model.predictor.stochastic else 1
    apart, asked = drawn if keep_samples else 1, len(members(model, trust))
    need = estimate_case(model, case, preparation, settings, uncertainty, apart, asked)
    check_memory(case.id, need, settings.batch)
    with memory_errors(case.id, f"predict.batch ({settings.batch})"):
        read = read_prepared(model, case)
        prepared, grid, turn = read.image, read.native, read.orientation
        seed = case_seed(model.seed, case.id)
        windows = Windows(
            model.predictor,
            patch_size=model.patch_size,
            settings=settings,
            flip=model.flip,
            device=device,
            seed=seed,
            samples=samples,
            apart=keep_samples,
        )
        opinions = Opinions(model, trust, settings=settings, device=device, seed=seed, whole=need.whole)
        oriented = turn.apply_grid(grid).shape
        classes = np.empty(oriented, np.uint8 if len(model.labels) <= 255 else np.uint16)
        entropy = np.empty(oriented, np.float32) if uncertainty else None
        kept = _array((len(model.labels), *oriented), scratch) if probabilities else None
        each = np.empty((drawn, *oriented), classes.dtype) if keep_samples else None
        with evaluating(model.predictor, device), torch.no_grad():
            blocks = windows.blocks(prepared, need.whole)
            rows = native_rows(opinions.overhear(blocks, prepared.shape[1:]), read.grid.shape[0], oriented)
            for index, row in enumerate(rows):
                if each is not None:
                    apart = row.unflatten(0, (drawn, len(model.labels)))
                    each[:, index] = apart.numpy().argmax(1)
                    row = apart.mean(0)
                classes[index] = row.numpy().argmax(0)  # on a CPU 7 times as fast as torch's
                if entropy is not None:
                    entropy[index] = _entropy(row).numpy()
                if kept is not None:
                    kept[:, index] = row.numpy()
        spacing = turn.apply_grid(grid).spacing_mm
        evidence = opinions.evidence(case.id, prepared, classes, None if spacing is None else prod(spacing) / 1000)
        return Prediction(
            evidence=evidence,
            mask=formats.decode_mask(turn.undo(classes), model.labels),
            grid=grid,
            probabilities=None if kept is None else turn.undo(kept),
            entropy=None if entropy is None else turn.undo(entropy),
            samples=None if each is None else formats.decode_mask(turn.undo(each), model.labels),
        )


def estimate_case(
    model: Model,
    case: Case,
    preparation: Preparation,
    settings: Predict,
    uncertainty: bool = False,
    apart: int = 1,
    members: int = 0,
) -> Estimate:
    """What `predict_case` will hold, from the header of the case's image; apart: samples that are kept each; members:
    opinions that are asked."""
    header = formats.read_header(case.images[0])
    try:
        turn, prepared = prepared_geometry(header.grid, preparation)
    except DataError as error:
        raise DataError(f"{case.id}: {error}") from None
    return estimate(
        native=turn.apply_grid(header.grid).shape,
        prepared=prepared.shape,
        channels=preparation.channels,
        classes=len(model.labels),
        patch_size=model.patch_size,
        batch=settings.batch,
        width=model.predictor.width,
        maps=uncertainty,
        apart=apart,
        members=members,
    )


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


def _entropy(row: torch.Tensor) -> torch.Tensor:
    """Shannon entropy of row (K, H, W) over classes, relative to that of equal probabilities."""
    return torch.special.entr(row).sum(0).clamp_min(0) / np.log(max(len(row), 2))


def _array(shape: tuple[int, ...], scratch: Path | None) -> np.ndarray:
    """A float32 array; in `scratch` a nameless file, gone when it is no longer used or the process is killed."""
    if scratch is None:
        return np.empty(shape, np.float32)
    with tempfile.TemporaryFile(dir=scratch) as file:
        if hasattr(os, "posix_fallocate"):  # a full disk must be an error here, not a bus error while writing
            try:
                os.posix_fallocate(file.fileno(), 0, FLOAT * prod(shape))
            except OSError:
                raise OutOfMemory(
                    f"{scratch}: no {FLOAT * prod(shape) / 1e9:.2f} GB for probabilities; free disk"
                ) from None
        return np.memmap(file, np.float32, "w+", shape=shape)
