import pytest
import torch

from fewmask.errors import SettingsError
from fewmask.training.machine import autocast, choose_device, choose_threads


def test_devices():
    assert choose_device("cpu") == torch.device("cpu")
    for name in ("gpu", "meta", "cpu:x"):
        with pytest.raises(SettingsError, match=f"--device {name}"):
            choose_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_missing_cuda_device_is_said():
    assert choose_device("auto") == torch.device("cpu")
    with pytest.raises(SettingsError, match="finds no CUDA device; use --device cpu"):
        choose_device("cuda")


def test_threads_are_as_asked_or_leave_a_core_to_the_loader():
    assert choose_threads(3) == 3
    assert choose_threads(0) >= 1


@pytest.mark.parametrize(("precision", "expected"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_precision(precision, expected):
    with autocast(precision, torch.device("cpu")):
        assert torch.nn.Linear(2, 2)(torch.ones(1, 2)).dtype == expected
