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


def test_a_ramp_without_length_is_a_step():
    ramp = Ramp(peak=0.7, start=1 / 30, length=0)
    assert [ramp.weight(at(step)) for step in (0, 33, 34, 999)] == [0.0, 0.0, 0.7, 0.7]


def test_before_its_start_a_ramp_is_zero():
    ramp = Ramp(start=0.2, length=0.4)
    assert ramp.weight(at(199)) == 0.0
    assert ramp.weight(at(200)) == pytest.approx(math.exp(-5))
    assert ramp.weight(at(600)) == 1.0


def test_stairs_are_equal_steps():
    ramp = Ramp(peak=0.1, length=1.0, stairs=200)
    # SSL4MIS: 0.1 exp(-5 (1 - e / 200)^2), e = iteration // 150 of 30,000
    for iteration in (0, 149, 150, 10_000, 20_000, 29_999):
        expected = 0.1 * math.exp(-5 * (1 - iteration // 150 / 200) ** 2)
        assert ramp.weight(at(iteration, 30_000)) == pytest.approx(expected)


def test_a_negative_length_is_refused():
    with pytest.raises(ValidationError):
        Ramp(length=-0.1)
