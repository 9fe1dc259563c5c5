"""Predictors: image -> class probabilities; what inference needs, as a JSON spec and safetensors in a model folder."""

from fewmask.predictors.base import Predictor
from fewmask.predictors.calibrated import Calibrated, CalibratedPredictor
from fewmask.predictors.diffusion import DiffusionPredictor
from fewmask.predictors.label_latent import LabelLatentPredictor
from fewmask.predictors.largest_component import LargestComponentPredictor
from fewmask.predictors.model import Model, find_model, load_model, model_hash, save_model
from fewmask.predictors.rectified import RectifiedPredictor
from fewmask.predictors.registry import PREDICTORS, build_predictor
from fewmask.predictors.segmenter import SegmenterPredictor

__all__ = [
    "PREDICTORS",
    "Calibrated",
    "CalibratedPredictor",
    "DiffusionPredictor",
    "LabelLatentPredictor",
    "LargestComponentPredictor",
    "Model",
    "Predictor",
    "RectifiedPredictor",
    "SegmenterPredictor",
    "build_predictor",
    "find_model",
    "load_model",
    "model_hash",
    "save_model",
]
