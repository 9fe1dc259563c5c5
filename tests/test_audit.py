"""The audit: verdicts from numbers, refusals, and a whole one on a tiny run."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fewmask import api, audit, job
from fewmask.audit import Scores, summary, verdict
from fewmask.data.catalogue import read_catalogue
from fewmask.data.split_file import read_split, write_split
from fewmask.errors import DataError, SettingsError
from fewmask.runs import Run
from fewmask.types import Case


def scores(gain: float, control: float = 0.0, patients: int = 8) -> Scores:
    """Raw at 0.5 with scatter, rectified better by `gain`, the control by `control`; two cases of two classes each."""
    rng = np.random.default_rng(0)
    cases = tuple(Case(id=f"{p}-{c}", patient=str(p), images=()) for p in range(patients) for c in range(2))
    raw = 0.5 + 0.1 * rng.standard_normal((len(cases), 2))
    scatter = np.array([0.004, -0.004])[:, None, None] * np.where(np.arange(len(cases)) // 2 % 2, 1, -1)[:, None]
    return Scores(
        cases=cases,
        names=("a", "b"),
        dice={"raw": raw, "rectified": raw + gain + scatter[0], "latent_zero": raw + control + scatter[1]},
    )


def test_differences_are_paired_and_over_patients():
    found = summary(scores(0.05), "val")
    difference = found["differences"]["rectified - raw"]
    assert difference["mean"] == pytest.approx(0.05, abs=0.01)
    assert difference["high"] - difference["low"] < 0.02  # the cases themselves scatter by 0.1
    assert difference["p"] == pytest.approx(2 / 2**8)  # all of eight patients on one side: the least p there is
    assert set(difference["per_class"]) == {"a", "b"}
    assert (found["cases"], found["patients"], found["split"]) == (16, 8, "val")


@pytest.mark.parametrize(
    ("gain", "control", "words"),
    [
        (0.05, 0.0, "improves pseudo-labels: +0.0"),
        (0.05, 0.0, "and no control does as much"),
        (0.05, 0.05, "but is not shown to do more than latent_zero, so not to owe it to the denoised latent"),
        (-0.05, 0.0, "spoils pseudo-labels: -0.0"),
        (0.0, 0.0, "Whether rectification helps is not established"),
    ],
)
def test_the_verdict(gain, control, words):
    assert words in summary(scores(gain, control), "val")["verdict"]


def test_one_patient_carries_no_interval():
    found = summary(scores(0.05, patients=1), "val")
    assert "1 patient are too few" not in found["verdict"]
    assert "1 patient is too few to say more" in verdict(found)


def test_without_any_class_there_is_nothing_to_compare():
    nothing = scores(0.05)
    for values in nothing.dice.values():
        values[:] = np.nan
    assert "nothing to compare" in summary(nothing, "val")["verdict"]


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        (0.05, "The labels of diffusion are better than those of cnn: diffusion - cnn +0.0"),
        (-0.05, "The labels of cnn are better than those of diffusion: diffusion - cnn -0.0"),
        (0.0, "Whose labels are better is not established: diffusion - cnn"),
    ],
)
def test_the_verdict_on_two_networks(gain, words):
    one, other, _ = scores(gain).dice.values()
    found = summary(replace(scores(gain), dice={"cnn": one, "diffusion": other}), "val")
    assert found["pair"] == ["cnn", "diffusion"]
    assert words in found["verdict"]


def test_a_class_that_is_nowhere_is_left_out():
    some = scores(0.05)
    for values in some.dice.values():
        values[:4, 0] = np.nan
    json.dumps(summary(some, "val"), allow_nan=False)
    assert summary(some, "val")["differences"]["rectified - raw"]["mean"] == pytest.approx(0.05, abs=0.01)


# a whole run


@pytest.fixture(scope="module")
def rectified(phantoms: Path, tiny: dict, tmp_path_factory) -> Path:
    """A tiny run of diffrect with an audit on its one val case."""
    out = tmp_path_factory.mktemp("audited") / "run"
    settings = {**tiny, "method": {**tiny["method"], "threshold": 0.0}}
    api.run(phantoms, out, method="diffrect", labelled=2, val=1, settings=settings, device="cpu", quiet=True)
    return out


def test_a_run_audits_itself_and_reports_it(rectified: Path):
    found = json.loads((rectified / "audit" / "audit.json").read_text())
    assert set(found["dice"]) == {"raw", "rectified", "latent_zero", "latent_noise", "condition_copy"}
    with open(rectified / "audit" / "audit.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["case", "class", "variant", "dice"]
    assert len(rows) == 5 * 3 and len({row["case"] for row in rows}) == 1
    page = (rectified / "report.html").read_text(encoding="utf-8")
    assert found["verdict"] in page and "control: the latent set to zero" in page
    pictures = list((rectified / "audit" / "pictures").glob("*.png"))
    assert len(pictures) == 1 and pictures[0].read_bytes().startswith(b"\x89PNG")


def test_the_masks_of_a_variant_are_its_dice(rectified: Path):
    """audit.csv says what the evaluation of the variant's own masks says."""
    with open(rectified / "audit" / "variants" / "rectified" / "evaluation" / "metrics.csv", newline="") as file:
        expected = {row["class"]: row["dice"] for row in csv.DictReader(file)}
    with open(rectified / "audit" / "audit.csv", newline="") as file:
        found = {row["class"]: row["dice"] for row in csv.DictReader(file) if row["variant"] == "rectified"}
    assert found == expected


def test_against_another_run(rectified: Path, tmp_path: Path):
    found = job.audit(rectified, tmp_path / "audit", against=rectified, quiet=True)
    assert found["differences"]["rectified - against"]["mean"] == 0.0


def test_a_method_that_rectifies_nothing(finished, rectified: Path, tmp_path: Path):
    with pytest.raises(SettingsError, match=r"--against .*: its method does not change its pseudo-labels"):
        job.audit(rectified, tmp_path / "audit", against=finished.run.root, quiet=True)
    with pytest.raises(SettingsError, match="not change its pseudo-labels; give a run of one that does"):
        job.audit(finished.run.root, tmp_path / "audit", quiet=True)
    assert not (tmp_path / "audit").exists()


def test_a_reference_that_lacks_cases(rectified: Path, tmp_path: Path):
    reference = read_catalogue(rectified / "catalogue")
    with pytest.raises(DataError, match=r"no mask of 2 of 3 unlabelled cases .* give the data that the run was split"):
        job.audit(rectified, tmp_path / "audit", reference=reference, quiet=True)


def test_no_val_case_with_a_mask(rectified: Path, tmp_path: Path):
    bare = tmp_path / "bare"
    shutil.copytree(rectified, bare)
    run = Run(bare)
    write_split(replace(read_split(run.split), val=()), run.split)
    with pytest.raises(DataError, match="no val case has a mask; give --reference with masks of its unlabelled cases"):
        job.audit(bare, tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_checkpoint(tmp_path: Path):
    with pytest.raises(DataError, match="no checkpoint"):
        audit.audit(tmp_path, tmp_path / "audit")
