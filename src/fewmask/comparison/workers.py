"""Processes that work off cells on this machine; each cell is a process of its own, so that none can end another."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from typing import Any

GRACE = 60.0
"""Seconds that an interrupted cell has to save itself."""
BEAT = 0.2


def run_cell(order: Mapping[str, Any], log: str, stop: Event | None = None) -> int:
    """Run one cell in a process whose output goes to `log`; returns its exit status, negative: the signal.

    order: what `fewmask.comparison.cell` reads.  The process ends when this one does, however that ends: it watches the
    pipe that the order came through.
    """
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    with open(log, "w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "fewmask.comparison.cell"],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            text=True,
        )
    try:
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        while True:
            try:
                return process.wait(BEAT)
            except subprocess.TimeoutExpired:
                if stop is not None and stop.is_set():
                    return _ended(process)
    except BrokenPipeError:  # it died before it read anything
        return process.wait()
    finally:
        if process.poll() is None:
            _ended(process)
        with suppress(BrokenPipeError):
            process.stdin.close()


def leave_with_parent() -> None:
    """The cell's side of the pipe: the parent never writes again, so its end is the parent's.  Then save and leave."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


def _ended(process: subprocess.Popen) -> int:
    """Ask the process to save and leave; it has GRACE seconds."""
    process.send_signal(signal.SIGTERM)
    try:
        return process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


class Workers:
    """`devices` names one device a worker; a worker does one cell after another."""

    def __init__(self, devices: Sequence[str]) -> None:
        self._pool = ThreadPoolExecutor(len(devices))
        self._devices: SimpleQueue[str] = SimpleQueue()
        for device in devices:
            self._devices.put(device)
        self._stop = Event()

    def submit(self, order: Mapping[str, Any], log: Path) -> Future[int]:
        """The exit status of the cell, when there is one."""
        return self._pool.submit(self._run, order, str(log))

    def _run(self, order: Mapping[str, Any], log: str) -> int:
        device = self._devices.get()
        try:
            return run_cell({**order, "device": device}, log, self._stop)
        finally:
            self._devices.put(device)

    def close(self, *, abandon: bool = False) -> None:
        """Wait for what runs; abandon: ask it to save and leave, and begin nothing more."""
        if abandon:
            self._stop.set()
        self._pool.shutdown(cancel_futures=abandon)
