"""Predictor + case -> mask on the native grid."""

from __future__ import annotations

from fewmask.windows import predict_prepared

__all__ = ["predict_prepared"]
