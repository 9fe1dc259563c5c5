"""What a cell took, and what it says when it is refused."""

from __future__ import annotations

import io
import json
from contextvars import ContextVar
from pathlib import Path

import pytest

from fewmask.comparison import cell
from fewmask.runs import Run


def test_minutes_of_all_sittings_and_memory_of_this_process(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.log.write_text('{"step": 1, "seconds": 30}\n{"step": 2, "seconds": 90.0}\n')
    found = cell.cost(run)
    assert found["minutes"] == 1.5 and 50 < found["memory_mb"] < 50_000 and found["gpu_memory_mb"] is None
    assert cell.cost(Run(tmp_path / "nothing"))["minutes"] is None


def test_a_refused_run_is_a_line_and_its_status(
    tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = {"data": str(tmp_path / "nowhere"), "out": str(tmp_path / "run"), "method": "supervised"}
    order = {"run": run, "command": ["fewmask", "run"], "device": "cpu"}
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(order) + "\n"))
    monkeypatch.setattr(cell, "leave_with_parent", lambda: None)
    monkeypatch.setattr(cell, "COMMAND", ContextVar("command"))  # this process goes on after its cell
    assert cell.main() == 3
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("fewmask: ") and "nowhere" in line
    assert not (tmp_path / "run" / "cell.json").exists()
