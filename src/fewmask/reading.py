"""A case's image as a network sees it: read, prepared and normalised as for training, and the way back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fewmask.config import validated
from fewmask.data import formats, intensity
from fewmask.data.cache import Preparation
from fewmask.data.conform import compact, prepare_image
from fewmask.data.grid import Grid, Orientation
from fewmask.errors import DataError
from fewmask.predictors import Model
from fewmask.types import Case


@dataclass(frozen=True, kw_only=True)
class Read:
    """A case as the network sees it: image (C, D, H, W) float32, normalised, on `grid`; `orientation` leads there from
    the axes of `native`."""

    image: np.ndarray
    native: Grid
    orientation: Orientation
    grid: Grid


def read_prepared(model: Model, case: Case) -> Read:
    """Read a case's image and prepare it as for training.  Raises DataError."""
    image, native = formats.read_case_image(case)
    try:
        preparation = validated(Preparation, model.preparation, where="preparation")
        prepared, turn, grid = prepare_image(image, native, preparation)
    except DataError as error:
        raise DataError(f"{case.id}: {error}") from None
    del image
    statistics = intensity.case_statistics(prepared)
    stored, scale = compact(prepared)  # what training saw: the cache's rounding included
    prepared = stored.astype(np.float32) * np.float32(scale)
    del stored
    prepared = intensity.normalise(prepared, model.intensity, statistics, model.fingerprint)
    return Read(image=prepared, native=native, orientation=turn, grid=grid)
