import math

import pytest
import torch
from torch import nn

from fewmask.config import Optimiser, Train
from fewmask.errors import SettingsError
from fewmask.training.optim import build_optimisers, learning_rate, set_learning_rates, settings_of
from fewmask.types import Clock


@pytest.mark.parametrize(
    ("schedule", "step", "expected"),
    [
        ("cosine", 10, 0.5 * (1 + math.cos(0.1 * math.pi))),
        ("cosine", 50, 0.5),
        ("poly", 75, 0.25**0.9),
        ("constant", 99, 1.0),
    ],
)
def test_schedules(schedule, step, expected):
    settings = Optimiser(lr=3.0, schedule=schedule, warmup=0.05)
    assert learning_rate(settings, step, 100) == pytest.approx(3 * expected)


def test_warm_up_rises_by_equal_parts():
    settings = Optimiser(lr=2.0, warmup=0.04, schedule="constant")
    assert [learning_rate(settings, step, 100) for step in range(6)] == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0, 2.0])


@pytest.mark.parametrize("total", [1, 2, 49, 50, 51, 3000])
def test_every_step_trains_and_none_at_more_than_the_highest_rate(total):
    settings = Optimiser(lr=2.0)
    rates = [learning_rate(settings, step, total) for step in range(total)]
    assert min(rates) > 0 and max(rates) <= 2.0


def test_a_stage_may_have_its_own_schedule():
    assert learning_rate(Optimiser(lr=1.0, warmup=0), 90, 100, "constant") == 1.0


def test_rates_are_set_group_by_group_and_a_stage_counts_its_own_steps():
    train = Train(optimiser=Optimiser(lr=1.0, warmup=0), optimisers={"b": Optimiser(lr=2.0, warmup=0)})
    optimisers = build_optimisers({"a": nn.Linear(1, 1), "b": nn.Linear(1, 1)}, train)
    clock = Clock(step=75, total=100, stage="", stage_step=5, stage_total=10, generator=torch.Generator())
    found = {}
    for schedule in (None, "poly"):
        set_learning_rates(optimisers, train, clock, schedule)
        found[schedule] = [optimiser.param_groups[0]["lr"] for optimiser in optimisers.values()]
    late = 0.5 * (1 + math.cos(0.75 * math.pi))
    assert found == {None: pytest.approx([late, 2 * late]), "poly": pytest.approx([0.5**0.9, 2 * 0.5**0.9])}


def test_groups_have_their_own_settings():
    train = Train(optimiser=Optimiser(lr=1.0), optimisers={"b": Optimiser(name="sgd", lr=2.0, momentum=0.5)})
    optimisers = build_optimisers({"a": nn.Linear(1, 1), "b": nn.Linear(1, 1)}, train)
    assert isinstance(optimisers["a"], torch.optim.AdamW) and isinstance(optimisers["b"], torch.optim.SGD)
    assert settings_of("b", train).lr == optimisers["b"].param_groups[0]["lr"] == 2.0
    assert optimisers["b"].param_groups[0]["momentum"] == 0.5
    with pytest.raises(SettingsError, match=r"train.optimisers.segmentr'; did you mean 'segmenter'"):
        build_optimisers({"segmenter": nn.Linear(1, 1)}, Train(optimisers={"segmentr": Optimiser()}))


@pytest.mark.parametrize("name", ["adamw", "sgd", "adam"])
def test_marked_parameters_do_not_decay_and_frozen_ones_are_left_out(name):
    module = nn.Linear(2, 2)
    module.bias.no_weight_decay = True
    module.frozen = nn.Parameter(torch.ones(1), requires_grad=False)
    settings = Optimiser(name=name, lr=0.1, weight_decay=0.5)
    (optimiser,) = build_optimisers({"all": module}, Train(optimiser=settings)).values()
    decays = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert decays == {id(module.weight): 0.5, id(module.bias): 0.0}


def test_the_parts_of_a_schedule_join_up_whatever_lies_between_them():
    """Two stages of 30 and 70 steps that share a schedule have the rates of one of 100, warm-up included."""
    train = Train(optimiser=Optimiser(lr=1.0, warmup=0.05))
    optimisers = build_optimisers({"a": nn.Linear(1, 1)}, train)
    found = []
    for first, length, part in ((500, 30, (0.0, 0.3)), (900, 70, (0.3, 1.0))):
        for step in range(length):
            clock = Clock(
                step=first + step,
                total=5000,
                stage="",
                stage_step=step,
                stage_total=length,
                generator=torch.Generator(),
            )
            set_learning_rates(optimisers, train, clock, None, part)
            found.append(optimisers["a"].param_groups[0]["lr"])
    assert found == pytest.approx([learning_rate(train.optimiser, step, 100) for step in range(100)])
