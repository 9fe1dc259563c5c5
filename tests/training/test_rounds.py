"""Rounds of calibrated labels in the trainer: one labelled slice, masks of others untouched, the same after a break."""

from __future__ import annotations

from dataclasses import replace

import h5py
import numpy as np
import pytest

from fewmask.data.cache import Preparation
from fewmask.data.prepare import prepare
from fewmask.errors import SettingsError
from fewmask.runs import Run, read_log
from fewmask.training import trainer
from fewmask.types import Split

STEPS = 8


def weights(run: Run) -> list[bytes]:
    return [(run.root / name / "model.safetensors").read_bytes() for name in ("model", "last")]


def banks(run: Run) -> dict[str, dict[str, np.ndarray]]:
    found = {}
    for path in sorted(run.pseudo.glob("*/*.npz")):
        with np.load(path) as file:
            found[str(path.relative_to(run.pseudo))] = {name: file[name] for name in file.files}
    return found


@pytest.fixture(scope="module")
def one_slice(catalogue) -> Split:
    """One slice of one case is labelled; nothing else has to have a mask."""
    ids = [case.id for case in catalogue.cases]
    return Split(labelled=(f"{ids[0]}:1",), unlabelled=tuple(ids[1:5]))


def test_masks_of_unlabelled_cases_do_not_matter_and_a_break_neither(
    catalogue, one_slice, settings, tmp_path, monkeypatch
):
    """T11: with and without them the same weights and the same banks; and so after an interruption between rounds."""
    config = settings("caudo_diff", steps=STEPS, train={"save_minutes": 1e-9, "validations": 0})
    runs = []
    labelled = one_slice.labelled[0].split(":")[0]
    bare = replace(
        catalogue,
        cases=tuple(case if case.id == labelled else replace(case, label=None) for case in catalogue.cases),
    )
    for name, given in (("with", catalogue), ("without", bare)):
        cache = prepare(given, one_slice, Preparation(dims=2, size=(17, 20)), tmp_path / f"cache-{name}", quiet=True)
        assert len(list((cache.root / "labels").glob("*.npy"))) == 1
        runs.append(Run(tmp_path / name))
        trainer.train(given, one_slice, cache, config, runs[-1], device="cpu", quiet=True)
    one, other = runs
    assert weights(one) == weights(other)
    found, same = banks(one), banks(other)
    assert list(found) == list(same) and len(found) == 2 * 5  # its other slices make the labelled case unlabelled, too
    for path, arrays in found.items():
        assert all(np.array_equal(array, same[path][name]) for name, array in arrays.items()), path
    assert {path.split("/")[0]: int(arrays["info_round"]) for path, arrays in found.items()} == {"1": 1, "2": 2}
    stages = [line["stage"] for line in read_log(one.log)]
    assert list(dict.fromkeys(stages)) == [
        *("autoencoder", "gate", "warm-up", "calibrator"),
        *("tune 1", "round 1", "tune 2", "round 2"),
    ]

    broken = Run(tmp_path / "broken")
    real = trainer.write_bank

    def dying(method, source, folder, *rest):
        if folder.name == "2":
            raise OSError("gone")
        real(method, source, folder, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "write_bank", dying)
        with pytest.raises(OSError, match="gone"):
            trainer.train(catalogue, one_slice, cache, config, broken, device="cpu", quiet=True)
    trainer.train(catalogue, one_slice, cache, config, broken, device="cpu", quiet=True)
    assert weights(broken) == weights(one)


def test_too_few_steps_are_said_before_anything_is_written(catalogue, one_slice, cache, settings, tmp_path):
    config = settings("caudo_diff", steps=5)
    with pytest.raises(SettingsError, match=r"train.steps=5 leaves the stage '.*' 0 steps; give at least 16"):
        trainer.train(catalogue, one_slice, cache, config, Run(tmp_path / "run"), device="cpu", quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_missed_gate_ends_the_run_and_leaves_no_model(catalogue, split, cache, settings, tmp_path):
    config = settings("caudo_diff", steps=STEPS, autoencoder={"gate": 0.99, "width": 2})
    run = Run(tmp_path)
    for _ in range(2):  # the same command meets the same gate
        with pytest.raises(SettingsError, match=r"Dice of box 0\.\d+, core 0\.\d+; its gate is 0.99"):
            trainer.train(catalogue, split, cache, config, run, device="cpu", quiet=True)
    assert not (run.model / "model.safetensors").exists()


def test_unlabelled_images_that_show_nothing(catalogue, one_slice, settings, tmp_path):
    """T16: constant images train and are labelled; nothing is found in them that their network has not found."""
    cases = []
    for case in catalogue.cases:
        path = case.images[0]
        if case.id in one_slice.unlabelled:
            path = tmp_path / f"{case.id}.h5"
            with h5py.File(path, "w") as file:
                file["image"] = np.full((3, 17, 20), 0.25, np.float32)
        cases.append(replace(case, images=(path,), label=case.label if path == case.images[0] else None))
    blank = replace(catalogue, cases=tuple(cases))
    config = settings("caudo_diff", steps=STEPS, train={"validations": 0})
    cache = prepare(blank, one_slice, Preparation(dims=2, size=(17, 20)), tmp_path / "cache", quiet=True)
    run = Run(tmp_path / "run")
    trainer.train(blank, one_slice, cache, config, run, device="cpu", quiet=True)
    assert all(np.isfinite(value) for line in read_log(run.log) for value in line["terms"].values())
    found = banks(run)
    assert len(found) == 2 * 5
    for path, arrays in found.items():
        assert np.isfinite(arrays["weight"]).all(), path
        empty = ~arrays["raw"].any((1, 2))
        assert not arrays["label"][empty].any(), path  # beside nothing, no class is born
