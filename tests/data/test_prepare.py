import json
import os
import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from fewmask.data import formats
from fewmask.data import prepare as preparing
from fewmask.data.cache import Preparation
from fewmask.data.catalogue import Catalogue
from fewmask.data.intensity import case_statistics
from fewmask.data.prepare import prepare
from fewmask.errors import DataError, OutOfMemory, SettingsError
from fewmask.types import Case, LabelSet, Split

LABELS = LabelSet(names=("background", "one", "two"), values=(0, 5, 9))
SHAPE = (6, 17, 23)


@pytest.fixture
def catalogue(tmp_path):
    """Four cases with masks; anisotropic, patients p0 to p3."""
    rng = np.random.default_rng(0)
    affine = np.diag([1.5, 1.25, 8.0, 1.0])
    cases = []
    for index in range(4):
        image = rng.normal(100, 20, SHAPE).astype(np.float32)
        mask = np.zeros(SHAPE, np.uint8)
        mask[2:5, 4:9, 6:15] = 5
        mask[3, 6:8, 8:12] = 9 if index else 5  # case 0 misses a class
        paths = tmp_path / f"p{index}.nii.gz", tmp_path / f"p{index}_mask.nii.gz"
        for array, path in zip((image, mask), paths, strict=True):
            nib.save(nib.Nifti1Image(array.T, affine), path)
        cases.append(Case(id=f"p{index}", patient=f"p{index}", images=paths[:1], label=paths[1]))
    return Catalogue(
        name="test",
        channels=("MR",),
        labels=LABELS,
        planar=False,
        layout="pairs",
        cases=tuple(cases),
        lists={},
        findings=(),
    )


SPLIT = Split(labelled=("p0", "p1:3"), unlabelled=("p2",), val=("p3",))


def poison(*cases):
    for case in cases:
        case.label.write_text("not a mask")


def test_no_mask_but_those_of_labelled_and_val_is_opened(catalogue, tmp_path):
    split = Split(labelled=("p0",), unlabelled=("p1",), val=("p3",), test=("p2",))
    poison(catalogue.by_id["p1"], catalogue.by_id["p2"])
    cache = prepare(catalogue, split, Preparation(dims=2), tmp_path / "cache", quiet=True)
    names = sorted(path.stem for path in (cache.root / "labels").glob("*.npy"))
    assert names == ["p0", "p3"]
    assert cache.open("p1").label is None and cache.open("p2").locations == {}


def test_a_label_of_another_budget_is_not_handed_out(catalogue, tmp_path):
    prepare(catalogue, Split(labelled=("p0", "p1")), Preparation(dims=2), tmp_path, quiet=True)
    cache = prepare(catalogue, Split(labelled=("p0",), unlabelled=("p1",)), Preparation(dims=2), tmp_path, quiet=True)
    assert cache.open("p0").label is not None
    assert cache.open("p1").label is None


def test_identity_preparation_keeps_the_voxels(catalogue, tmp_path):
    cache = prepare(catalogue, SPLIT, Preparation(dims=2), tmp_path / "cache", quiet=True)
    case = catalogue.by_id["p0"]
    prepared = cache.open("p0")
    image, grid = formats.read_case_image(case)
    mask, _ = formats.read_mask(case.label)
    turn = prepared.orientation
    np.testing.assert_allclose(turn.undo(np.asarray(prepared.image, np.float32)) * prepared.scale, image, rtol=1e-3)
    assert np.array_equal(turn.undo(np.asarray(prepared.label)), np.searchsorted(LABELS.values, mask))
    assert prepared.native == grid
    assert prepared.statistics == case_statistics(turn.apply(image))
    assert isinstance(prepared.image, np.memmap)


def test_labelled_slice_leaves_the_others_ignored(catalogue, tmp_path):
    cache = prepare(catalogue, SPLIT, Preparation(dims=2, size=(24, 24)), tmp_path / "cache", quiet=True)
    label = np.asarray(cache.open("p1").label)
    assert [set(np.unique(plane)) == {255} for plane in label] == [True, True, True, False, True, True]
    assert {int(z) for positions in cache.open("p1").locations.values() for z in positions[:, 0]} == {3}


def test_slice_beyond_the_case_is_named_before_anything_is_prepared(catalogue, tmp_path):
    with pytest.raises(DataError, match=r"^p1:6: the case has slices 0 to 5$"):
        prepare(catalogue, Split(labelled=("p1:6",)), Preparation(dims=2), tmp_path / "cache", quiet=True)
    assert not (tmp_path / "cache").exists()


def test_locations_are_of_foreground_and_right(catalogue, tmp_path):
    prepared = prepare(catalogue, SPLIT, Preparation(dims=2), tmp_path / "cache", quiet=True).open("p3")
    assert set(prepared.locations) == {1, 2}
    for value, positions in prepared.locations.items():
        assert np.array_equal(positions, np.argwhere(np.asarray(prepared.label) == value))


def test_rerun_does_nothing_and_a_changed_source_is_redone(catalogue, tmp_path, monkeypatch):
    cache = prepare(catalogue, SPLIT, Preparation(dims=2), tmp_path / "cache", quiet=True)
    before = {path: path.stat().st_mtime_ns for path in (cache.root / "images").iterdir()}
    assert len(before) == 4
    source = catalogue.by_id["p2"].images[0]
    os.utime(source, ns=(1, 1))
    prepare(catalogue, SPLIT, Preparation(dims=2), tmp_path / "cache", quiet=True)
    changed = [path.stem for path, moment in before.items() if path.stat().st_mtime_ns != moment]
    assert changed == ["p2"]


def test_other_label_values_redo_the_label(catalogue, tmp_path):
    cache = prepare(catalogue, SPLIT, Preparation(dims=2), tmp_path / "cache", quiet=True)
    assert set(np.unique(cache.open("p3").label)) == {0, 1, 2}
    swapped = LabelSet(names=("background", "two", "one"), values=(0, 9, 5))
    changed = replace(catalogue, labels=swapped)
    again = prepare(changed, SPLIT, Preparation(dims=2), tmp_path / "cache", quiet=True)
    assert np.asarray(again.open("p3").label)[3, 6, 8] == 1


def test_an_interrupted_case_is_redone(catalogue, tmp_path):
    cache = prepare(catalogue, SPLIT, Preparation(dims=2), tmp_path / "cache", quiet=True)
    cache.record_path("p2").unlink()
    cache.image_path("p2").write_bytes(b"half")
    cache = prepare(catalogue, SPLIT, Preparation(dims=2), tmp_path / "cache", quiet=True)
    assert cache.open("p2").image.shape == (1, *SHAPE)
    assert not list(cache.root.rglob("*.tmp"))


def test_any_number_of_workers_gives_the_same(catalogue, tmp_path):
    roots = [
        prepare(catalogue, SPLIT, Preparation(dims=2, size=(20, 19)), tmp_path / str(n), workers=n, quiet=True).root
        for n in (1, 4)
    ]
    files = sorted(path.relative_to(roots[0]) for path in roots[0].rglob("*.npy"))
    assert len(files) == 7
    assert all((roots[0] / path).read_bytes() == (roots[1] / path).read_bytes() for path in files)


def test_mask_of_another_shape_is_named(catalogue, tmp_path):
    case = catalogue.by_id["p0"]
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.uint8), np.eye(4)), case.label)
    with pytest.raises(DataError, match=r"p0: mask \(4, 4, 4\) and image \(6, 17, 23\) differ"):
        prepare(catalogue, SPLIT, Preparation(dims=2), tmp_path / "cache", quiet=True)


def test_missing_image_and_unknown_case_are_named(catalogue, tmp_path):
    with pytest.raises(DataError, match="case 'p9' of the split"):
        prepare(catalogue, Split(labelled=("p9",)), Preparation(dims=2), tmp_path / "cache", quiet=True)
    catalogue.by_id["p2"].images[0].unlink()
    with pytest.raises(DataError, match=r"p2\.nii\.gz"):
        prepare(catalogue, SPLIT, Preparation(dims=2), tmp_path / "cache", quiet=True)


def test_wrong_number_of_channels_is_named(catalogue, tmp_path):
    with pytest.raises(DataError, match="p0: 1 channels where 2 are expected"):
        prepare(catalogue, Split(labelled=("p0",)), Preparation(dims=2, channels=2), tmp_path / "cache", quiet=True)


def test_a_disk_too_small_is_refused_before_anything_is_written(catalogue, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    with pytest.raises(
        OutOfMemory, match=r"the cache needs \d+ MB and leaves 67 MB for the run, the disk has 0 MB free"
    ):
        prepare(catalogue, SPLIT, Preparation(dims=2), tmp_path / "cache", quiet=True)
    assert not list((tmp_path / "cache").rglob("*.npy"))


def test_a_disk_that_fills_up_is_said(catalogue, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(preparing.np, "save", full)
    with pytest.raises(OutOfMemory, match="the disk is full"):
        prepare(catalogue, SPLIT, Preparation(dims=2), tmp_path / "cache", quiet=True)
    assert not list((tmp_path / "cache").rglob("*.tmp"))


def test_a_cache_that_cannot_be_written_is_a_matter_of_settings(catalogue, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        SettingsError, match=r"cannot be written \(a file is where its folder should be\); choose another folder"
    ):
        prepare(catalogue, SPLIT, Preparation(dims=2), tmp_path / "file" / "cache", quiet=True)


def test_memory_that_runs_out_names_what_helps(catalogue, tmp_path, monkeypatch):
    def full(*_):
        raise MemoryError

    monkeypatch.setattr(preparing, "compact", full)
    with pytest.raises(
        OutOfMemory, match=r"^prepare: memory is full; close other programs or crop the largest images$"
    ):
        prepare(catalogue, SPLIT, Preparation(dims=2), tmp_path / "cache", quiet=True)


def test_disk_need_is_printed(catalogue, tmp_path, capsys):
    prepare(catalogue, SPLIT, Preparation(dims=2), tmp_path / "cache")
    assert "prepare: 4 of 4 cases, 0.00 GB in" in capsys.readouterr().err


def test_fingerprint_is_of_the_given_cases(catalogue, tmp_path):
    cache = prepare(catalogue, SPLIT, Preparation(dims=2), tmp_path / "cache", quiet=True)
    found = cache.fingerprint(["p2", "p0"], "rgb")
    means = [case_statistics(np.asarray(cache.open(name).image, np.float32))["mean"][0] for name in ("p0", "p2")]
    assert found["mean"][0] == pytest.approx(np.mean(means), rel=1e-3)
    (path,) = cache.root.glob("fingerprint-*.json")
    assert json.loads(path.read_text()) == found
    assert cache.fingerprint(["p0", "p2"], "rgb") == found


def test_ct_fingerprint_sees_labelled_foreground_alone(catalogue, tmp_path):
    cache = prepare(catalogue, SPLIT, Preparation(dims=2), tmp_path / "cache", quiet=True)
    prepared = cache.open("p0")
    inside = np.asarray(prepared.image, np.float32)[0][np.asarray(prepared.label) > 0]
    assert cache.fingerprint(["p0", "p2"], "ct")["mean"][0] == pytest.approx(float(inside.mean()), rel=1e-3)


def test_what_killed_processes_left_is_swept_after_a_day(catalogue, tmp_path):
    cache = prepare(catalogue, SPLIT, Preparation(dims=2), tmp_path / "cache", quiet=True)
    old, fresh = (cache.root / "images" / f".{name}.npy.1-2.tmp" for name in ("old", "fresh"))
    for path in (old, fresh):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    prepare(catalogue, SPLIT, Preparation(dims=2), tmp_path / "cache", quiet=True)
    assert fresh.exists() and not old.exists()


def test_threads_are_as_many_as_memory_allows(monkeypatch):
    monkeypatch.setattr(preparing, "available_bytes", lambda: 2500)
    monkeypatch.setattr(preparing, "cores", lambda: 16)
    assert [preparing._workers(need) for need in (1, 1000, 5000)] == [8, 2, 1]
