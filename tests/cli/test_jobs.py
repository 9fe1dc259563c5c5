"""The whole job by one command: what it prints, signals, a folder in use."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fewmask import api
from fewmask.job import Outcome
from fewmask.runs import Run


@pytest.mark.slow
def test_run_prints_the_table_and_where_things_are(fewmask, phantoms: Path, tiny_words, tmp_path: Path) -> None:
    words = ("run", phantoms, "--labelled", 2, "--val", 1, "--method", "mean_teacher", "--device", "cpu", *tiny_words)
    status, out, err = fewmask(*words, "--out", tmp_path / "run")
    assert status == 0
    assert out.splitlines()[0] == "val"
    assert out.splitlines()[1].split()[:2] == ["class", "dice"]
    assert [line.split()[0] for line in out.splitlines()[-4:]] == ["masks", "model", "report", "next"]
    for part in ("split: labelled: 2 patients", "plan: plan.tier=cpu  (device cpu)", "prepare: 6 of 6 cases"):
        assert part in err
    again = fewmask(*words, "--out", tmp_path / "run", "--quiet", "--json")
    assert (again[0], again[2]) == (0, "")
    assert json.loads(again[1])["summaries"]["val"]["cases"] == 1
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["command"] == ["fewmask", *map(str, words), "--out", str(tmp_path / "run")]


@pytest.mark.slow
def test_a_signal_saves_and_the_same_command_continues(phantoms: Path, tiny_words, tmp_path: Path) -> None:
    words = [
        "run",
        phantoms,
        "--out",
        tmp_path / "run",
        "--labelled",
        "2",
        "--val",
        "1",
        *tiny_words,
        "--device",
        "cpu",
    ]
    words = [sys.executable, "-m", "fewmask", *map(str, words), "train.steps=100", "--method", "supervised"]
    log = tmp_path / "run" / "log.jsonl"
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 5, err
    assert "Traceback" not in err
    assert "the same command continues" in err.splitlines()[-1]
    step = json.loads(log.read_text().splitlines()[-1])["step"]
    assert step < 100
    again = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert steps == sorted(set(steps)) and steps[-1] == 100


@pytest.mark.slow
def test_two_runs_into_one_folder(fewmask, one_line, finished: Outcome, phantoms: Path) -> None:
    with finished.run.locked():
        script = "import sys; from fewmask.cli import main; main(sys.argv[1:])"
        words = ["run", phantoms, "--labelled", "2", "--out", finished.run.root]
        answer = subprocess.run([sys.executable, "-c", script, *map(str, words)], capture_output=True, text=True)
    assert answer.returncode == 2
    assert "is writing to this folder; wait for it or choose another --out" in one_line(answer.stderr)


@pytest.mark.parametrize("words", [("train=3",), ("train=3", "--steps", 5), ("train.steps=3", "train=3")])
def test_a_value_in_place_of_a_section_is_refused(fewmask, one_line, phantoms: Path, tmp_path: Path, words) -> None:
    status, _, err = fewmask("run", phantoms, "--out", tmp_path / "run", *words)
    assert status == 2
    assert "setting train" in one_line(err)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("rank", "said"), [(None, True), ("0", True), ("1", False)])
def test_under_torchrun_one_process_names_the_model(fewmask, monkeypatch, tmp_path: Path, rank, said) -> None:
    monkeypatch.delenv("RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    monkeypatch.setattr(api, "train", lambda *args, **kwargs: Run(tmp_path))
    assert fewmask("train", tmp_path, "--out", tmp_path) == (0, f"model: {tmp_path / 'model'}\n" if said else "", "")
