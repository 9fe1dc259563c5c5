"""The predictors: an explicit table name -> class, and how one is built from a saved spec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fewmask.config import nearest
from fewmask.errors import DataError
from fewmask.predictors.base import Predictor
from fewmask.predictors.calibrated import CalibratedPredictor
from fewmask.predictors.diffusion import DiffusionPredictor
from fewmask.predictors.label_latent import LabelLatentPredictor
from fewmask.predictors.largest_component import LargestComponentPredictor
from fewmask.predictors.rectified import RectifiedPredictor
from fewmask.predictors.segmenter import SegmenterPredictor

PREDICTORS: dict[str, type[Predictor]] = {
    "segmenter": SegmenterPredictor,
    "rectified": RectifiedPredictor,
    "diffusion": DiffusionPredictor,
    "label_latent": LabelLatentPredictor,
    "calibrated": CalibratedPredictor,
    "largest_component": LargestComponentPredictor,
}


def build_predictor(spec: Mapping[str, Any]) -> Predictor:
    """The predictor of a spec, with fresh weights.  Raises DataError for a kind that this version does not know."""
    kind = str(spec.get("predictor"))
    if kind not in PREDICTORS:
        raise DataError(f"model with predictor '{kind}'{nearest(kind, PREDICTORS)}; a newer fewmask may know it")
    try:
        return PREDICTORS[kind].from_spec(spec)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"the model's description of its predictor '{kind}' does not fit this version: {error}"
        ) from None
