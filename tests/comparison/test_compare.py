"""The whole comparison on phantoms: cells, continuation, and what is refused before anything is trained."""

from __future__ import annotations

import csv
import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fewmask import api, job
from fewmask.comparison import cell, roles, workers
from fewmask.comparison import compare as comparing
from fewmask.comparison.compare import Plan, compare, reason
from fewmask.data.phantom import write_phantoms
from fewmask.errors import DataError, Interrupted, SettingsError
from fewmask.order import Order
from fewmask.resolution import Request
from fewmask.runs import Run


@pytest.fixture(scope="module")
def hearts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine patients, eight with masks."""
    folder = tmp_path_factory.mktemp("hearts") / "nine"
    write_phantoms(folder, patients=9, labelled=8, size=(2, 32, 28), frames=1)
    return folder


@pytest.fixture
def plan(hearts: Path, tiny: dict) -> Plan:
    settings = {
        **tiny,
        "train": {key: value for key, value in tiny["train"].items() if key not in ("threads", "workers")},
    }
    order = Order(data=hearts, request=Request(settings=settings), val="1", test="5", device="cpu", quiet=True)
    return Plan(methods=("supervised", "fixmatch"), labelled=("1", "2"), order=order, workers=2)


def in_process(monkeypatch: pytest.MonkeyPatch, fail: str = "") -> list[str]:
    """Do cells in this process, which has everything imported; returns their folders as they come."""
    done: list[str] = []

    def work(order, log, stop=None) -> int:
        done.append(Path(order["run"]["out"]).name)
        Path(log).parent.mkdir(parents=True, exist_ok=True)
        Path(log).write_text("fewmask: memory is full; lower plan.size\n")
        if fail and fail in done[-1]:
            return 4
        cell.work(order)
        return 0

    monkeypatch.setattr(workers, "run_cell", work)
    return done


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch, leave) -> None:
    """Cells split, plan and prepare in earnest, and leave scores as if they had learnt."""

    def scored(order, run, ready) -> dict:
        leave(run, np.full((16, 2), 0.5 + 0.1 * (ready.config.method["name"] == "fixmatch")))
        return {}

    for name in ("train_run", "predict_run", "trust_run", "audit_run", "write_report"):
        monkeypatch.setattr(job, name, lambda *given: ())
    monkeypatch.setattr(job, "evaluate_run", scored)


@pytest.mark.slow
@pytest.mark.usefixtures("untrained")
def test_cells_tables_continuation_and_growth(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "compared"
    done = in_process(monkeypatch, fail="fixmatch-2")
    first = compare(replace(plan, workers=1), out)
    assert sorted(done) == ["fixmatch-1-0", "fixmatch-2-0", "supervised-1-0", "supervised-2-0"]
    (why,) = first.failed.values()
    assert list(first.failed) == ["fixmatch, 2 labelled, seed 0"] and why.startswith(
        "memory is full; lower plan.size (exit 4"
    )
    assert len(first.found["comparisons"]) == 1 and first.page.is_file()
    config = (out / "cells" / "supervised-1-0" / "config.yaml").read_text()
    assert "threads: 1" in config and "workers: 0" in config
    cached = {path.name for path in (out / "cache").glob("*")}
    assert len(cached) == 1  # one cache serves all budgets

    done = in_process(monkeypatch)  # another seed is added, what failed is tried again
    again = compare(replace(plan, seeds=(0, 1), labelled=("2",), workers=1), out)
    assert sorted(done) == ["fixmatch-2-0", "fixmatch-2-1", "supervised-2-1"]
    assert not again.failed and len(again.found["comparisons"]) == 1
    assert again.found["comparisons"][0]["difference"]["mean"] == pytest.approx(0.1)
    with open(out / "comparison.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["seed"]) for row in rows] == [
        ("supervised", "0"),
        ("fixmatch", "0"),
        ("supervised", "1"),
        ("fixmatch", "1"),
    ]
    found = json.loads((out / "comparison.json").read_text())
    assert found["seeds"] == [0, 1] and found["unfinished"] == []
    assert [entry["verdict"] for entry in found["comparisons"]] == found["verdicts"]

    done = in_process(monkeypatch)
    compare(replace(plan, seeds=(0, 1), labelled=("2",)), out)
    assert done == []  # nothing was left to do


@pytest.mark.slow
def test_a_process_gives_the_same_numbers_and_a_killed_one_is_told(plan: Plan, tmp_path: Path, monkeypatch) -> None:
    """A cell in a process of its own while another one is killed; then the same in this process.

    test_workers kills one in earnest.
    """
    apart, together = tmp_path / "apart", tmp_path / "together"
    small = replace(plan, labelled=("2",))
    end = workers.Workers._run
    monkeypatch.setattr(
        workers.Workers, "_run", lambda *given: -signal.SIGKILL if "fixmatch" in given[2] else end(*given)
    )
    first = compare(small, apart)
    assert list(first.failed.values()) == [
        "ended by SIGKILL: killed from outside, or memory was full; try fewer --workers"
    ]
    environment = json.loads((apart / "cells" / "supervised-2-0" / "environment.json").read_text())
    assert environment["command"][:2] == ["fewmask", "run"] and "train.seed=0" in environment["command"]
    assert (first.found["scored_on"], first.found["patients"], first.found["steps"]) == ("test", 5, [4])
    in_process(monkeypatch)
    compare(replace(small, methods=("supervised",), workers=1), together)
    rows = []
    for out in (apart, together):
        with open(out / "comparison.csv", newline="") as file:
            rows += csv.DictReader(file)
    assert len(rows) == 2 and all(float(row["minutes"]) >= 0 and float(row["memory_mb"]) > 50 for row in rows)
    columns = ("method", "seed", "dice", "val_dice", "last_dice")
    one, other = ([row[key] for key in columns] for row in rows)
    assert one == other and "" not in one


def test_an_interruption_writes_what_is_there(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(plan, kind, grid, out, failed, save):
        failed[grid.cells[1]] = "ended by SIGKILL"
        raise KeyboardInterrupt

    monkeypatch.setattr(comparing, "_run", interrupted)
    with pytest.raises(Interrupted, match="stopped with 0 of 4 cells done; the same command continues"):
        compare(plan, tmp_path / "out")
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert len(found["unfinished"]) == 3 and list(found["failed"].values()) == ["ended by SIGKILL"]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"methods": ("fixmatch", "fixmatch")}, SettingsError, "'fixmatch' is named twice"),
        ({"labelled": ("1", "9")}, DataError, "--labelled 9: only 2 patients with masks to choose from"),
        ({"labelled": ("0",)}, SettingsError, "--labelled 0: at least 1"),
        ({"curve": True}, SettingsError, "--curve: needs 3 budgets of different .* and there are 2; give --labelled"),
        ({"curve": True, "labelled": ("1", "2", "2 frames")}, SettingsError, "--curve: needs 3 .* and there are 2"),
        ({"ray": "local"}, SettingsError, "--ray and --workers were both given"),
        ({"methods": ("supervised+cutmix=0",)}, SettingsError, "unknown setting 'method.cutmix'"),
    ],
)
def test_what_cannot_be_meant_leaves_nothing(plan: Plan, tmp_path: Path, change, error, message) -> None:
    with pytest.raises(error, match=message):
        compare(replace(plan, **change), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_one_seed_for_all_cells_and_the_folder_of_a_run_are_refused(plan: Plan, tmp_path: Path) -> None:
    settings = {**plan.order.request.settings, "train": {"seed": 7}}
    with pytest.raises(SettingsError, match=r"train\.seed: each cell has its own; give --seeds"):
        compare(replace(plan, order=replace(plan.order, request=Request(settings=settings))), tmp_path / "out")
    (tmp_path / "request.json").write_text("{}")
    with pytest.raises(SettingsError, match=f"--out {tmp_path}: the folder of a run; choose another --out"):
        compare(plan, tmp_path)


@pytest.mark.parametrize(
    ("device", "gpus", "kind"), [("auto", 0, "cpu"), ("auto", 2, "cuda"), ("cpu", 2, "cpu"), ("cuda", 2, "cuda")]
)
def test_a_cluster_decides_what_cells_run_on(plan: Plan, monkeypatch, device, gpus, kind) -> None:
    monkeypatch.setattr(comparing, "gpus_of", lambda address: gpus)
    assert comparing._kind(replace(plan, ray="auto", order=replace(plan.order, device=device))) == kind


def test_a_gpu_that_no_node_has_is_refused(plan: Plan, monkeypatch) -> None:
    monkeypatch.setattr(comparing, "gpus_of", lambda address: 0)
    with pytest.raises(SettingsError, match="--device cuda: the cluster --ray auto has no GPU; leave it out"):
        comparing._kind(replace(plan, ray="auto", order=replace(plan.order, device="cuda")))


def test_a_first_sitting_that_failed_leaves_nothing_to_agree_with(plan: Plan, tmp_path: Path, monkeypatch) -> None:
    """Corrected data is scanned anew."""
    out = tmp_path / "out"
    with monkeypatch.context() as broken, pytest.raises(DataError, match="broken"):
        broken.setattr(roles, "prepare", lambda *given, **options: (_ for _ in ()).throw(DataError("broken")))
        compare(plan, out)
    assert not (out / "compare.json").exists()
    monkeypatch.setattr(comparing, "_run", lambda *given: None)
    compare(replace(plan, order=replace(plan.order, test="4")), out)
    assert (out / "compare.json").is_file() and (out / "catalogue" / "cases.csv").is_file()


def test_a_setting_that_one_method_lacks_names_it(plan: Plan, tmp_path: Path) -> None:
    settings = {**plan.order.request.settings, "method": {"burn_in": 0.1}}
    order = replace(plan.order, request=Request(settings=settings))
    with pytest.raises(
        SettingsError, match=r"burn_in.*\(method supervised\); a setting of one method is written behind"
    ):
        compare(replace(plan, order=order), tmp_path / "out")


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ({"val": "0", "test": "0"}, "no test or val case with a mask is left to score; add --test N or --val N"),
        ({"val": "8", "test": None}, "--val 8: only 8 patients .* one is needed to learn from"),
        ({"val": None, "test": None}, "with 1 labelled no test or val case with a mask is left"),
    ],
)
def test_no_patients_left_to_score(plan: Plan, tmp_path: Path, roles, message) -> None:
    order = replace(plan.order, **roles)
    with pytest.raises(DataError, match=message):
        compare(replace(plan, labelled=("3", "1"), order=order), tmp_path / "out")


def test_another_comparison_and_a_second_process_are_refused(plan: Plan, tmp_path: Path, monkeypatch) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(comparing, "_run", lambda *given: None)
    compare(plan, out)
    with monkeypatch.context() as patched, pytest.raises(SettingsError, match="device was 'cpu' and is now 'cuda'"):
        patched.setattr(comparing, "choose_device", lambda device: torch.device("cuda"))
        compare(plan, out)
    with pytest.raises(SettingsError, match="holds another comparison: val was '1' and is now '2'"):
        compare(replace(plan, order=replace(plan.order, val="2")), out)
    with Run(out.resolve()).locked(), pytest.raises(SettingsError, match=f"process {os.getpid()} is writing to this"):
        compare(plan, out)


def test_reasons(tmp_path: Path) -> None:
    log = tmp_path / "cell.log"
    log.write_text("step 3\nfewmask: no such thing\n\n")
    assert reason(2, log) == f"no such thing (exit 2, {log})"
    assert reason(-signal.SIGTERM, log) == "ended by SIGTERM"
    log.write_text("")
    assert reason(1, log).startswith("it said nothing (exit 1")


def test_from_python_and_the_shell(
    fewmask_words, monkeypatch: pytest.MonkeyPatch, hearts: Path, tmp_path: Path
) -> None:
    asked: list[Plan] = []

    def remember(plan: Plan, out: Path):
        asked.append(plan)
        return comparing.Comparison(folder=out, found={"failed": {}, "verdicts": []})

    monkeypatch.setattr(comparing, "compare", remember)
    api.compare(
        hearts, tmp_path / "out", methods=["supervised", "bcp+box=0.5"], labelled=[1, "10%"], seeds=[0, 2], workers=3
    )
    words = ["--methods", "supervised,bcp+box=0.5", "--labelled", "1,10%", "--seeds", "0,2", "--workers", "3"]
    assert fewmask_words("compare", hearts, "--out", tmp_path / "out", *words)[0] == 0
    assert asked[0] == asked[1]
    api.compare(hearts, tmp_path / "out", methods="supervised,bcp+box=0.5", labelled="1,10%", seeds=[0, 2], workers=3)
    assert asked[0] == asked[2]
    api.compare(hearts, tmp_path / "out", methods="supervised", labelled=3, seeds=4)
    assert (asked[3].methods, asked[3].labelled, asked[3].seeds) == (("supervised",), ("3",), (4,))
    status, _, err = fewmask_words("compare", hearts, "--out", tmp_path / "out", "--methods", "a", "--seeds", "0,x")
    assert (
        status == 2 and err.strip() == "fewmask: --seeds 0,x: 'x' is no whole number; write for example --seeds 0,1,2"
    )


def test_failed_cells_end_the_command_with_5(fewmask_words, monkeypatch, hearts: Path, tmp_path: Path) -> None:
    made = comparing.Comparison(folder=tmp_path, found={"failed": {"a": "b"}}, failed={"a": "b"})
    monkeypatch.setattr(comparing, "compare", lambda plan, out: made)
    status, out, err = fewmask_words("compare", hearts, "--out", tmp_path, "--methods", "supervised", "--labelled", "1")
    assert (status, err.strip()) == (5, "fewmask: 1 cell failed; the same command tries again")
    assert out.splitlines() == ["No cell is finished.", "", "failed: a: b"]


@pytest.fixture
def fewmask_words(capsys: pytest.CaptureFixture[str]):
    """A function that runs a command and returns (exit status, stdout, stderr)."""
    from fewmask import cli

    def call(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main([str(word) for word in words])
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return call
