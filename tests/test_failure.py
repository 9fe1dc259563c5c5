"""Which line and which status each kind of error ends with."""

from __future__ import annotations

import errno

import pytest

from fewmask.errors import DataError, FewmaskError, Interrupted, OutOfMemory, SettingsError
from fewmask.failure import explain


@pytest.mark.parametrize(
    ("error", "status"),
    [(FewmaskError, 1), (SettingsError, 2), (DataError, 3), (OutOfMemory, 4), (Interrupted, 5)],
)
def test_own_errors_say_both(error: type[FewmaskError], status: int) -> None:
    assert explain(error("case 7: broken;\n mend it")) == ("fewmask: case 7: broken; mend it", status)


@pytest.mark.parametrize(
    ("number", "status", "words"),
    [
        (errno.ENOSPC, 4, "the disk is full; free some or choose another folder"),
        (errno.EDQUOT, 4, "the disk is full"),
        (errno.ENOMEM, 4, "memory is full; lower method.labelled_batch"),
        (errno.EROFS, 2, "read-only file system; change its permissions or choose another folder"),
        (errno.EACCES, 2, "permission denied"),
        (errno.ENOENT, 3, "no such file or directory; check the path"),
    ],
)
def test_errors_of_the_system(number: int, status: int, words: str) -> None:
    import os

    line, found = explain(OSError(number, os.strerror(number), "out/x"))
    assert (found, line.startswith("fewmask: out/x: ")) == (status, True)
    assert words in line


def test_memory() -> None:
    class OutOfMemoryError(RuntimeError):
        """As torch names it."""

    for error in (MemoryError(), OutOfMemoryError("CUDA"), RuntimeError("DefaultCPUAllocator: can't allocate memory")):
        assert explain(error)[1] == 4


def test_a_fault_of_fewmask_says_so() -> None:
    line, status = explain(KeyError("x"))
    assert status == 1
    assert "KeyError" in line and "--debug" in line


def test_a_batch_of_one_voxel_is_told_with_its_remedy() -> None:
    """What torch itself raises where a single 16x16 image reaches the bottom of the network."""
    import torch

    with pytest.raises(ValueError) as raised:
        torch.nn.BatchNorm2d(4)(torch.zeros(1, 4, 1, 1))
    line, status = explain(raised.value)
    assert status == 2
    assert "raise method.labelled_batch or plan.size, or set method.segmenter.normalisation=group" in line
