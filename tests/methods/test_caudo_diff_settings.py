"""Settings that cannot be are refused, and what is written into a run is read back."""

import pytest

from fewmask.config import validated
from fewmask.errors import SettingsError
from fewmask.methods.caudo_diff_settings import CaudoDiffConfig


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"calibrator": {"network_errors": 0.8, "unchanged": 0.3}}, "together at most 1"),
        ({"calibrator": {"variant": "one_step", "samples": 5}}, "samples=5 has no place in variant=one_step"),
        ({"calibrator": {"blur": 0.2}}, "blur=0.2 has no place in variant=ddim"),
        ({"calibrator": {"variant": "bridge", "start": 0.9}}, "start=0.9 has no place in variant=bridge"),
        ({"calibrator": {"variant": "ddpm"}}, "choose 'ddim', 'bridge' or 'one_step'"),
        ({"labels": "raw", "infer": "calibrated"}, "infer=calibrated has no place in labels=raw"),
        ({"synthesis": {"cells": [3, 1]}}, "the smaller number comes first"),
        ({"autoencoder": {"halvings": 4}}, "at most 3"),
        ({"budget": {"rounds": 0}}, "at least 1"),
        ({"budget": {"round": 1}}, "did you mean 'rounds'"),
    ],
)
def test_what_cannot_be_is_said(settings, message):
    with pytest.raises(SettingsError, match=message):
        validated(CaudoDiffConfig, settings, where="method")


@pytest.mark.parametrize("variant", ["ddim", "bridge", "one_step"])
def test_a_run_reads_its_own_settings(variant):
    config = CaudoDiffConfig(calibrator={"variant": variant}, allow_missing=("RV",))
    assert CaudoDiffConfig.model_validate(config.model_dump(mode="json")) == config
