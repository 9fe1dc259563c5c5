"""The model that a method has become: its predictor and all that leads from a user's file to a mask."""

from __future__ import annotations

from fewmask import __version__
from fewmask.config import Config
from fewmask.data.cache import Cache
from fewmask.data.catalogue import Catalogue
from fewmask.data.intensity import Fingerprint
from fewmask.methods.base import Method
from fewmask.predictors import Model
from fewmask.training.checkpoint import Progress


def export(
    method: Method, progress: Progress, catalogue: Catalogue, cache: Cache, config: Config, fingerprint: Fingerprint
) -> Model:
    """The model as it is now.  It is a function of data and settings alone: time does not enter it."""
    return Model(
        predictor=method.predictor(),
        members=method.members(),
        labels=catalogue.labels,
        preparation=cache.preparation.model_dump(mode="json"),
        intensity=config.plan.intensity,
        fingerprint=dict(fingerprint),
        patch_size=config.plan.size,
        channels=catalogue.channels,
        planar=catalogue.planar,
        flip=config.plan.flip,
        layout=catalogue.layout,
        seed=config.train.seed,
        extra={
            "method": config.method["name"],
            "fewmask": __version__,
            "step": progress.step,
            "best_dice": progress.best_dice,
            "best_step": progress.best_step,
        },
    )
