"""Cells on a Ray cluster: an existing one by its address, or one started on this machine."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fewmask.comparison.workers import GRACE, run_cell
from fewmask.device import has_cuda
from fewmask.errors import SettingsError

ANSWERS_WITHIN = 5.0
"""Seconds in which the address must accept a connection."""
JOINS_WITHIN = 30.0
"""Seconds in which a cluster must let a client in: what accepts connections may be something else."""
LOCAL = "local"
_PROBE = (
    "import sys, ray; ray.init(address=sys.argv[1], logging_level='ERROR', log_to_driver=False); "
    "print(int(ray.cluster_resources().get('GPU', 0)))"
)


class Cluster:
    """As `Workers`: every node must see the data and the folder of the comparison under the same paths."""

    def __init__(self, address: str, *, cpus: int, gpus: int) -> None:
        """address: `local`, `auto` (the cluster of this machine), HOST:PORT or ray://HOST:PORT; cpus, gpus: of a cell.

        Raises SettingsError where the cluster does not start, or no node has room for a cell.
        """
        import ray  # an extra, and a second to import

        self._ray = ray
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # its new behaviour, without the warning
        dashboard = False if address == LOCAL else None
        before = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(address=address, logging_level="ERROR", log_to_driver=False, include_dashboard=dashboard)
        except Exception as error:  # a bare one where a busy machine takes longer to start than Ray waits
            raise SettingsError(f"--ray {address}: {one_line(error)}; try again, or use --workers") from None
        finally:
            if before is not None and threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, before)  # Ray's own would leave without tables
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
            ray.shutdown()
            raise SettingsError(
                f"--ray {address}: no node has room for a cell of {cpus} CPUs and {gpus} GPUs; add one, or lower "
                "train.threads"
            )
        self._task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)(run_cell)
        self._device = "cuda" if gpus else "cpu"
        self._tasks: list[Any] = []

    def submit(self, order: Mapping[str, Any], log: Path) -> Future[int]:
        """The exit status of the cell, when there is one."""
        task = self._task.remote({**order, "device": self._device}, str(log))
        self._tasks.append(task)
        return task.future()

    def close(self, *, abandon: bool = False) -> None:
        """Leave the cluster; abandon: ask what runs to save and leave first."""
        if abandon:
            for task in self._tasks:
                self._ray.cancel(task)
            self._ray.wait(self._tasks, num_returns=len(self._tasks), timeout=GRACE)
        self._ray.shutdown()


def one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def check_address(address: str) -> None:
    """Raise SettingsError where Ray is missing, `address` is none, or nobody listens there."""
    if find_spec("ray") is None:
        raise SettingsError("--ray needs: pip install 'fewmask[ray]'")
    if address in (LOCAL, "auto"):
        return
    found = re.fullmatch(r"(?:ray://)?(\[[\da-fA-F:]+\]|[^:/\s]+):(\d{1,5})", address)
    if found is None:
        raise SettingsError(f"--ray {address}: give local, auto, HOST:PORT or ray://HOST:PORT")
    try:
        socket.create_connection((found[1].strip("[]"), int(found[2])), ANSWERS_WITHIN).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error) or "no answer"
        raise SettingsError(
            f"--ray {address}: no answer ({reason.lower()}); start the cluster (ray start --head), or use --workers"
        ) from None


def gpus_of(address: str) -> int:
    """GPUs of the cluster, or of this machine.  Raises SettingsError, within seconds, where nothing answers."""
    check_address(address)
    return int(has_cuda()) if address == LOCAL else _probe(address)


def _probe(address: str) -> int:
    """GPUs of a cluster, by joining it once in another process: one that never gets in can be given up without waiting
    for Ray's own minutes."""
    try:
        answer = subprocess.run(
            [sys.executable, "-c", _PROBE, address], capture_output=True, text=True, timeout=JOINS_WITHIN
        )
    except subprocess.TimeoutExpired:
        raise SettingsError(
            f"--ray {address}: it listens but lets nobody in for {JOINS_WITHIN:.0f} seconds; is it a Ray cluster?"
        ) from None
    if answer.returncode:
        reason = (answer.stderr.strip().splitlines() or ["no message"])[-1]
        raise SettingsError(f"--ray {address}: {reason}; start the cluster (ray start --head), or use --workers")
    return int(answer.stdout.split()[-1])
