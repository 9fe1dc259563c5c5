"""Devices that are there, devices that are not, and names that mean none."""

from __future__ import annotations

import pytest
import torch

from fewmask.device import check_name, choose_device
from fewmask.errors import SettingsError


def test_devices() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    for name in ("gpu", "meta", "cpu:x", "cuda:", ""):
        with pytest.raises(SettingsError, match=f"--device {name}: choose auto, cpu, cuda or cuda:N"):
            choose_device(name)


def test_a_name_is_checked_whatever_the_machine_has() -> None:
    for name in ("auto", "cpu", "cuda", "cuda:3"):
        check_name(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_missing_cuda_device_is_said() -> None:
    assert choose_device("auto") == torch.device("cpu")
    with pytest.raises(SettingsError, match="finds no CUDA device; use --device cpu"):
        choose_device("cuda")


def test_one_of_several_cuda_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto", 1) == torch.device("cuda:1")
    assert choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(SettingsError, match="--device cuda:2: there are 2 CUDA devices"):
        choose_device("cuda:2")
