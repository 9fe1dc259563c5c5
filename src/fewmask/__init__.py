"""fewmask: masks for every image of a collection of which few have masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fewmask.api import compare, evaluate, predict, run, scan, train

__version__ = "0.1.0"
__all__ = ["__version__", "compare", "evaluate", "predict", "run", "scan", "train"]


def __getattr__(name: str) -> Any:
    """The functions of fewmask.api on first use, so that importing fewmask imports neither torch nor monai."""
    if name in __all__:
        from fewmask import api

        return getattr(api, name)
    raise AttributeError(f"module 'fewmask' has no attribute '{name}'")
