"""Cells as processes: a status, a signal, an end with the parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fewmask.comparison import workers
from fewmask.comparison.workers import Workers, run_cell

SLEEPY = """
import json, sys, threading, time
from fewmask.comparison.workers import leave_with_parent
order = json.loads(sys.stdin.readline())
threading.Thread(target=leave_with_parent, daemon=True).start()
print(order["device"], flush=True)
if "status" in order:
    sys.exit(order["status"])
time.sleep(60)
"""


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cell that says its device and leaves with the status it is given, or sleeps."""
    path = tmp_path / "sleepy.py"
    path.write_text(SLEEPY)
    popen = subprocess.Popen

    def other(words, **options):
        return popen([sys.executable, str(path)], **options)

    monkeypatch.setattr(workers.subprocess, "Popen", other)
    return path


@pytest.mark.slow
def test_the_status_and_the_words_of_a_cell(script: Path, tmp_path: Path) -> None:
    assert run_cell({"device": "cpu", "status": 3}, str(tmp_path / "logs" / "cell.log")) == 3
    assert (tmp_path / "logs" / "cell.log").read_text() == "cpu\n"


@pytest.mark.slow
def test_a_cell_that_is_killed_is_its_signal(script: Path, tmp_path: Path) -> None:
    script.write_text(SLEEPY.replace("time.sleep(60)", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"))
    assert run_cell({"device": "cpu"}, str(tmp_path / "cell.log")) == -signal.SIGKILL


@pytest.mark.slow
def test_each_worker_has_its_device_and_an_abandoned_one_ends_its_cell(script: Path, tmp_path: Path) -> None:
    pool = Workers(["cuda:0", "cuda:1"])
    running = [pool.submit({}, tmp_path / f"{number}.log") for number in range(3)]
    deadline = time.monotonic() + 60
    logs = [tmp_path / f"{number}.log" for number in range(2)]
    while not all(log.exists() and log.read_text() for log in logs) and time.monotonic() < deadline:
        time.sleep(0.05)
    pool.close(abandon=True)
    assert sorted(log.read_text() for log in logs) == ["cuda:0\n", "cuda:1\n"]
    assert [future.result() for future in running[:2]] == [-signal.SIGTERM] * 2
    assert running[2].cancelled()


@pytest.mark.slow
def test_a_cell_leaves_when_its_parent_is_killed(tmp_path: Path) -> None:
    script, log = tmp_path / "sleepy.py", tmp_path / "cell.log"
    script.write_text(SLEEPY.replace("print(", "import os; print(os.getpid(), "))
    parent = """
import subprocess, sys, time
with open(sys.argv[2], "w") as log:
    child = subprocess.Popen([sys.executable, sys.argv[1]], stdin=subprocess.PIPE, stdout=log, text=True)
child.stdin.write('{"device": "cpu"}\\n')
child.stdin.flush()
time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", parent, str(script), str(log)])
    deadline = time.monotonic() + 60
    while not (log.exists() and log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    child = int(log.read_text().split()[0])
    process.kill()
    process.wait()
    while os.path.exists(f"/proc/{child}/stat") and "Z" not in Path(f"/proc/{child}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline, "the cell outlived its parent"
        time.sleep(0.05)
