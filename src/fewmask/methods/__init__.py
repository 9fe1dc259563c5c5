"""The methods: an explicit table.  To add one: its file, one line here, a recipe, a card in docs/methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fewmask.config import nearest, validated
from fewmask.errors import SettingsError
from fewmask.methods.base import Method
from fewmask.methods.bcp import BidirectionalCopyPaste
from fewmask.methods.caudo_diff import CaudoDiff
from fewmask.methods.cps import CrossPseudoSupervision
from fewmask.methods.diff_cl import DiffCL
from fewmask.methods.diffrect import DiffRect
from fewmask.methods.fixmatch import FixMatch
from fewmask.methods.mean_teacher import MeanTeacher
from fewmask.methods.proto_diff import ProtoDiff
from fewmask.methods.supervised import Supervised
from fewmask.methods.ua_mt import UncertaintyAwareMeanTeacher
from fewmask.methods.unimatch import UniMatch
from fewmask.types import Task

METHODS: dict[str, type[Method]] = {
    "supervised": Supervised,
    "mean_teacher": MeanTeacher,
    "ua_mt": UncertaintyAwareMeanTeacher,
    "cps": CrossPseudoSupervision,
    "fixmatch": FixMatch,
    "unimatch": UniMatch,
    "bcp": BidirectionalCopyPaste,
    "diffrect": DiffRect,
    "diff_cl": DiffCL,
    "proto_diff": ProtoDiff,
    "caudo_diff": CaudoDiff,
}


def method_class(name: str) -> type[Method]:
    """The class by its name; raises SettingsError naming the nearest one."""
    if name not in METHODS:
        raise SettingsError(f"unknown method '{name}'{nearest(name, METHODS)}")
    return METHODS[name]


def build_method(settings: Mapping[str, Any], task: Task) -> Method:
    """The method that `settings["name"]` names, with the other settings as its Config."""
    settings = dict(settings)
    method = method_class(settings.pop("name"))
    return method(validated(method.Config, settings, where="method"), task)
