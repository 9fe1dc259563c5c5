import pytest
import torch

from fewmask.training import machine
from fewmask.training.machine import autocast, choose_threads


def test_threads_are_as_asked_or_leave_a_core_to_the_loader():
    assert choose_threads(3) == 3
    assert choose_threads(0) >= 1


def test_threads_leave_a_core_to_the_loader(monkeypatch):
    for cores, threads in ((1, 1), (2, 1), (16, 15)):
        monkeypatch.setattr(machine, "cores", lambda cores=cores: cores)
        assert choose_threads(0) == threads


@pytest.mark.parametrize(("precision", "expected"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_precision(precision, expected):
    with autocast(precision, torch.device("cpu")):
        assert torch.nn.Linear(2, 2)(torch.ones(1, 2)).dtype == expected
