import math

import pytest
import torch
from pydantic import ValidationError

from fewmask.methods.ramps import Ramp
from fewmask.types import Clock


def at(stage_step: int, total: int = 1000) -> Clock:
    return Clock(
        step=500 + stage_step,
        total=2000,
        stage="train",
        stage_step=stage_step,
        stage_total=total,
        generator=torch.Generator(),
    )


def test_the_ramp_counts_from_its_stage_and_then_stays():
    ramp = Ramp(peak=2.0, length=0.4)
    assert ramp.weight(at(0)) == pytest.approx(2 * math.exp(-5))
    assert ramp.weight(at(200)) == pytest.approx(2 * math.exp(-5 / 4))
    assert ramp.weight(at(400)) == ramp.weight(at(999)) == 2.0


def test_the_ramp_is_a_function_of_the_share_alone():
    assert Ramp().weight(at(30, 100)) == pytest.approx(Ramp().weight(at(300, 1000)))


def test_a_ramp_without_length_is_refused():
    with pytest.raises(ValidationError):
        Ramp(length=0)
