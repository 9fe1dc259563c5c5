"""A model and one case -> its mask on the native grid, in the raw values of the user's data; no mask is opened."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch

from fewmask.config import Predict, validated
from fewmask.data import formats
from fewmask.data.cache import Preparation
from fewmask.data.conform import prepared_geometry
from fewmask.data.grid import Grid
from fewmask.errors import DataError, OutOfMemory
from fewmask.memory import FLOAT, Estimate, check_memory, estimate, memory_errors
from fewmask.predictors import Model
from fewmask.reading import read_prepared
from fewmask.restore import native_rows
from fewmask.trust import Evidence, Level, members
from fewmask.trust.opinions import Opinions
from fewmask.types import Case
from fewmask.windows import Windows, case_seed, evaluating


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
