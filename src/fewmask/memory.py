"""What predicting a case will hold in memory, told from its header before anything is read; and when it is full."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path

from fewmask.errors import OutOfMemory

WHOLE_BYTES = 256 * 2**20
"""Probabilities of a 3-D case up to this size are accumulated at once; larger ones block by block along D."""
FLOAT = 4


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Bytes that a case takes at each stage of its prediction; only one stage is held at a time.

    whole: whether its probabilities on the prepared grid are accumulated at once.
    """

    reading: int
    preparing: int
    network: int
    accumulating: int
    restoring: int
    whole: bool

    @property
    def peak(self) -> int:
        """Bytes of the largest stage; the network runs while blocks are accumulated and restored."""
        return max(self.reading, self.preparing, self.network + self.accumulating + self.restoring)


def estimate(
    *,
    native: Sequence[int],
    prepared: Sequence[int],
    channels: int,
    classes: int,
    patch_size: Sequence[int],
    batch: int,
    width: int,
    maps: bool = False,
    apart: int = 1,
    members: int = 0,
) -> Estimate:
    """native and prepared: shapes (D, H, W); width: channels of the network's finest level; maps: entropy is kept too;
    apart: samples whose probabilities and masks are kept each; members: opinions whose labels are kept for the trust
    in the mask.

    The factors are counts of the copies alive together, rounded up; tests hold the sum above what is measured.
    """
    voxels, points = channels * prod(native), channels * prod(prepared)
    classes *= apart
    plane = classes * prod(prepared[1:]) * FLOAT
    depth = patch_size[0] if len(patch_size) == 3 else batch
    whole = len(patch_size) == 3 and plane * prepared[0] <= WHOLE_BYTES
    held = prepared[0] if whole else min(depth, prepared[0])
    rows = min(batch, prepared[0]) if len(patch_size) == 2 else max(batch, 2)
    return Estimate(
        reading=voxels * 16,
        preparing=voxels * FLOAT + points * 16,
        network=rows * prod(patch_size) * (12 * width + 3 * classes) * FLOAT,
        accumulating=points * FLOAT + plane * held * (3 if whole or len(patch_size) == 2 else 5),
        restoring=classes * prod(native[1:]) * FLOAT * 4
        + prod(native) * (6 + FLOAT * maps + 2 * (apart - 1))
        + (prod(prepared) * members * 2 + points * FLOAT * 3 + prod(native) * 18 if members else 0),
        whole=whole,
    )


def check_memory(name: str, need: Estimate, batch: int) -> None:
    """Raise OutOfMemory, naming what to lower, where the case needs more than is free."""
    free = available_bytes()
    if free is None or need.peak <= free:
        return
    lower = f"lower predict.batch ({batch})"
    if need.network + need.accumulating + need.restoring < need.peak or batch == 1:
        lower = "close other programs or crop the image"
    raise OutOfMemory(f"{name}: needs about {need.peak / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free; {lower}")


def available_bytes() -> int | None:
    """Memory that this process may still take, under the limits of the machine and its container; None: unknown."""
    found = [value for value in (_of_machine(), _of_container()) if value is not None]
    return min(found, default=None)


def _of_machine() -> int | None:
    info = Path("/proc/meminfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _of_container() -> int | None:
    """Free under the control group's limit (version 2, then 1); file cache counts as free."""
    for folder, limit, used in (
        ("/sys/fs/cgroup", "memory.max", "memory.current"),
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        try:
            most = (Path(folder) / limit).read_text().strip()
            now = int((Path(folder) / used).read_text())
            cached = dict(line.split() for line in (Path(folder) / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):
            continue
        if most.isdecimal():
            return int(most) - now + int(cached.get("inactive_file", 0)) + int(cached.get("active_file", 0))
    return None


@contextmanager
def memory_errors(name: str, lower: str) -> Iterator[None]:
    """Turn what torch and numpy raise when memory is full into OutOfMemory; lower: the settings that would help."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
        full = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
        if not full and "can't allocate memory" not in str(error):
            raise
        raise OutOfMemory(f"{name}: memory is full; lower {lower}") from None
