"""The whole job on small phantoms: what it leaves, what it never opens, what it does not do twice."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from fewmask import job
from fewmask.data.catalogue import open_catalogue, write_catalogue
from fewmask.errors import Interrupted, SettingsError
from fewmask.job import Outcome
from fewmask.order import Order
from fewmask.resolution import Request
from fewmask.runs import read_log

pytestmark = pytest.mark.slow


@pytest.fixture
def order(phantoms: Path, tiny: dict) -> Order:
    request = Request(method="supervised", settings=tiny)
    return Order(data=phantoms, request=request, labelled="1", val="1", device="cpu", quiet=True)


def test_what_a_run_leaves(finished: Outcome) -> None:
    root = finished.run.root
    for name in ("config.yaml", "split.json", "environment.json", "log.jsonl", "last", "best", "report.html"):
        assert (root / name).exists(), name
    parts = ["calibration.json", "model.json", "model.safetensors"]
    assert sorted(path.name for path in (root / "model").iterdir()) == parts
    assert finished.report == root / "report.html"
    assert [entry["step"] for entry in read_log(finished.run.log)] == [1, 2, 3, 4]


def test_every_case_that_is_not_labelled_has_a_mask(finished: Outcome, phantoms: Path) -> None:
    split = json.loads(finished.run.split.read_text())
    wanted = {*split["unlabelled"], *split["val"], *split["test"]}
    masks = {path.name.removesuffix(".nii.gz"): path for path in finished.run.predictions.glob("*.nii.gz")}
    assert set(masks) == wanted and len(wanted) == 4
    assert {path for path in finished.predictions} >= set(masks.values())
    for case, path in masks.items():
        mask, image = nib.load(path), nib.load(phantoms / "imagesTr" / f"{case}_0000.nii.gz")
        assert mask.shape == image.shape
        assert np.array_equal(mask.affine, image.affine)
        assert set(np.unique(mask.dataobj)) <= {0, 1, 2, 3}


def test_test_and_val_are_evaluated_with_the_best_and_the_last_checkpoint(finished: Outcome) -> None:
    assert set(finished.summaries) == {"test", "val"}
    folders = {"test": ".", "val": "val", "last": "last"}
    for name, folder in folders.items():
        path = finished.run.evaluation / folder
        summary = json.loads((path / "summary.json").read_text())
        assert summary["split"] == ("val" if name == "val" else "test")
        assert summary["cases"] == 1
        assert summary["protocol"] == "mm"
        with open(path / "metrics.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["class"] for row in rows] == ["RV", "myocardium", "LV"]


def test_the_same_order_does_nothing_twice(
    finished: Outcome, phantoms: Path, tiny: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: object, **options: object) -> None:
        raise AssertionError("done again")

    monkeypatch.setattr(job, "evaluate", never)
    before = {path: path.stat().st_mtime_ns for path in finished.run.predictions.rglob("*.nii.gz")}
    log = finished.run.log.read_bytes()
    request = Request(settings=tiny)
    order = Order(data=phantoms, request=request, labelled="2", val="1", test="1", device="cpu", quiet=True)
    again = job.run(order, finished.run.root)
    assert again.summaries == finished.summaries
    assert sorted(again.predictions) == sorted(finished.predictions)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert finished.run.log.read_bytes() == log


def test_another_order_into_the_same_folder_is_refused(finished: Outcome, order: Order) -> None:
    with pytest.raises(SettingsError, match="holds another run: labelled was '2' and is now '1'"):
        job.run(order, finished.run.root)


def test_masks_of_unlabelled_cases_are_never_opened(order: Order, phantoms: Path, tmp_path: Path) -> None:
    """Two of four masks are poisoned after the scan; the whole job runs all the same."""
    data = tmp_path / "data"
    shutil.copytree(phantoms, data)
    write_catalogue(open_catalogue(data, quiet=True), tmp_path / "catalogue")
    for number in (1, 2):
        (data / "labelsTr" / f"patient{number:03}_frame01.nii.gz").write_bytes(b"poison")
    files = {"labelled": "patient003_frame01", "val": "patient004_frame01"}
    for role, case in files.items():
        (tmp_path / role).write_text(case + "\n")
    poisoned = replace(
        order, data=tmp_path / "catalogue", labelled=str(tmp_path / "labelled"), val=str(tmp_path / "val")
    )
    outcome = job.run(poisoned, tmp_path / "run")
    assert len(outcome.predictions) == 5
    assert set(outcome.summaries) == {"val"}


def test_one_mask_and_no_val(order: Order, tmp_path: Path) -> None:
    """One labelled patient: no val, so the last checkpoint is the model and nothing is measured."""
    outcome = job.run(replace(order, labelled="1", val="0"), tmp_path / "run")
    assert outcome.summaries == {}
    assert not outcome.run.best.exists()
    assert (outcome.run.model / "model.safetensors").read_bytes() == (
        outcome.run.last / "model.safetensors"
    ).read_bytes()


def test_train_alone_and_resume(order: Order, tmp_path: Path) -> None:
    run = job.train(order, tmp_path / "run")
    assert not run.predictions.exists()
    before = {path: path.stat().st_mtime_ns for path in run.model.iterdir()}
    for resume in (False, True):
        assert job.train(order, tmp_path / "run", resume) == run
    assert {path: path.stat().st_mtime_ns for path in run.model.iterdir()} == before
    with pytest.raises(SettingsError, match="holds another run: labelled was '1' and is now '2'"):
        job.train(replace(order, labelled="2"), tmp_path / "run")


def test_what_is_not_there_is_not_resumed(order: Order, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"--resume: .*run holds no run; leave --resume out to begin one"):
        job.train(order, tmp_path / "run", resume=True)
    assert not (tmp_path / "run").exists()


def test_an_interrupted_training_is_continued_by_the_same_order(
    order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: object, **options: object) -> None:
        raise Interrupted("stopped at step 1 of 4; the same command continues")

    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        patched.setattr(job.trainer, "train", interrupted)
        job.train(order, tmp_path / "run")
    assert job.train(order, tmp_path / "run").model.is_dir()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
@pytest.mark.parametrize("do", [job.run, job.train])
def test_a_device_that_is_not_there_leaves_no_folder(order: Order, tmp_path: Path, do) -> None:
    with pytest.raises(SettingsError, match="finds no CUDA device"):
        do(replace(order, device="cuda"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_run_is_one_process(order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(SettingsError, match="under torchrun use fewmask train"):
        job.run(order, tmp_path / "run")
