"""Segmentation networks: the explicit table name -> class, and how one is built from settings or from a saved spec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fewmask.config import Network, nearest
from fewmask.errors import DataError, SettingsError
from fewmask.nets.high_frequency import HighFrequencySegmenter
from fewmask.nets.segmenter import Segmenter
from fewmask.nets.unet import UNet
from fewmask.nets.vnet import VNet
from fewmask.types import Task

SEGMENTERS: dict[str, type[Segmenter]] = {"unet": UNet, "vnet": VNet}


def build_segmenter(network: Network, task: Task) -> Segmenter:
    """A freshly initialised network for the task.  Raises SettingsError where the name is unknown."""
    if network.name not in SEGMENTERS:
        raise SettingsError(f"unknown network '{network.name}'{nearest(network.name, SEGMENTERS)}")
    return SEGMENTERS[network.name](
        channels=task.channels,
        classes=task.classes,
        dims=task.dims,
        width=network.width,
        dropout=network.dropout,
        normalisation=network.normalisation,
    )


def build_from_spec(spec: Mapping[str, Any]) -> Segmenter:
    """The network that a `Segmenter.spec` describes, freshly initialised; DataError where this version has none."""
    settings = dict(spec)
    name = settings.pop("name", None)
    known = [*SEGMENTERS, HighFrequencySegmenter.name]
    if name not in known:
        raise DataError(f"the model's network is '{name}'; this version of fewmask knows {', '.join(known)}")
    try:
        if name == HighFrequencySegmenter.name:
            return HighFrequencySegmenter(build_from_spec(settings.pop("base")), **settings)
        return SEGMENTERS[name](**settings)
    except (TypeError, KeyError) as error:
        raise DataError(f"the model's description of its network '{name}' does not fit this version: {error}") from None
