"""The streams as a function of (seed, stage, stream, index), and who may see a label."""

import h5py
import numpy as np
import pytest
import torch

from fewmask.data import loader
from fewmask.data.cache import Cache, Preparation
from fewmask.data.catalogue import Catalogue
from fewmask.data.loader import Source, StageBatches, iterate
from fewmask.data.prepare import prepare
from fewmask.errors import DataError, SettingsError
from fewmask.types import Batch, Case, LabelSet, Split, Stage, StrongView, Views, WeakView

SHAPE = (3, 9, 11)
VIEWS = Views(
    weak=WeakView(flip=(0, 1), rotation=20, scale=(0.8, 1.2), elastic=0.02),
    strong=(StrongView(noise_probability=1.0), StrongView(gamma_probability=1.0)),
    unlabelled=True,
)
PLAIN = Views(weak=WeakView(), unlabelled=True)
STAGE = Stage(labelled_batch=4, unlabelled_batch=6)


def write_case(folder, number: int, label: np.ndarray | None = None) -> Case:
    rng = np.random.default_rng(number)
    path = folder / f"patient{number}.h5"
    with h5py.File(path, "w") as file:
        file["image"] = rng.normal(size=SHAPE).astype(np.float32)
        file["label"] = rng.integers(0, 3, SHAPE).astype(np.uint8) if label is None else label
    return Case(id=path.stem, patient=path.stem, images=(path,), label=path)


@pytest.fixture
def catalogue(tmp_path) -> Catalogue:
    return Catalogue(
        name="noise",
        channels=("MR",),
        labels=LabelSet(names=("background", "one", "two"), values=(0, 1, 2)),
        planar=False,
        layout="ssl4mis",
        cases=tuple(write_case(tmp_path, number) for number in range(6)),
    )


SPLIT = Split(labelled=("patient0", "patient1:2"), unlabelled=("patient2", "patient3"), val=("patient4",))


def make_source(catalogue, tmp_path, split=SPLIT, dims=2, **own) -> Source:
    preparation = Preparation(dims=dims, size=SHAPE[1:] if dims == 2 else None)
    cache: Cache = prepare(catalogue, split, preparation, tmp_path / "cache", quiet=True)
    own = {"patch_size": SHAPE[1:] if dims == 2 else (2, 8, 6), **own}
    return Source(cache, split, intensity_kind="zscore", fingerprint={}, **own)


@pytest.fixture
def source(catalogue, tmp_path) -> Source:
    return make_source(catalogue, tmp_path)


def same(one: Batch, other: Batch) -> bool:
    pairs = [(one.labelled, other.labelled), (one.unlabelled, other.unlabelled)]
    names = ("image", "strong", "valid", "label")
    equal = [
        torch.equal(getattr(a, name), getattr(b, name))
        for a, b in pairs
        for name in names
        if getattr(a, name) is not None
    ]
    return all(equal) and all(a.case == b.case for a, b in pairs)


def test_shapes_and_types(source):
    batch = StageBatches(source, VIEWS, STAGE, seed=0)[0]
    assert batch.labelled.image.shape == (4, 1, 9, 11)
    assert batch.unlabelled.strong.shape == (2, 6, 1, 9, 11)
    assert batch.labelled.label.dtype == torch.int64 and batch.labelled.valid.dtype == torch.bool
    assert batch.unlabelled.label is None and batch.unlabelled.pseudo is None


def test_batches_depend_on_the_step_alone(source):
    batches = StageBatches(source, VIEWS, STAGE, seed=0)
    straight = list(iterate(batches, 0, 6, workers=0))
    with_workers = list(iterate(batches, 0, 6, workers=2))
    restarted = list(iterate(batches, 3, 6, workers=1))
    assert len(straight) == 6
    assert all(same(a, b) for a, b in zip(straight, with_workers, strict=True))
    assert all(same(a, b) for a, b in zip(straight[3:], restarted, strict=True))
    assert not same(straight[0], straight[1])


def test_seed_and_stage_change_the_batches(source):
    first = StageBatches(source, VIEWS, STAGE, seed=0)[0]
    assert not same(first, StageBatches(source, VIEWS, STAGE, seed=1)[0])
    assert not same(first, StageBatches(source, VIEWS, STAGE, seed=0, number=1)[0])


def test_processes_share_the_rows_of_one_batch(source):
    whole = StageBatches(source, VIEWS, STAGE, seed=0)[3]
    parts = [StageBatches(source, VIEWS, STAGE, seed=0, rank=rank, world=2)[3] for rank in range(2)]
    for rank, part in enumerate(parts):
        assert part.labelled.case == whole.labelled.case[rank::2]
        torch.testing.assert_close(part.labelled.image, whole.labelled.image[rank::2])
        torch.testing.assert_close(part.unlabelled.strong, whole.unlabelled.strong[:, rank::2])
    with pytest.raises(SettingsError, match="labelled_batch=4 cannot be shared by 3"):
        StageBatches(source, VIEWS, STAGE, seed=0, rank=0, world=3)


def test_every_pass_shows_every_sample_once(source):
    batches = StageBatches(source, PLAIN, STAGE, seed=0)
    shown = [case for step in range(2) for case in batches[step].labelled.case]
    # patient0 has three slices and patient1 one labelled slice: two passes in two steps
    assert sorted(shown[:4]) == sorted(shown[4:]) == ["patient0:0", "patient0:1", "patient0:2", "patient1:2"]
    # the other slices of patient1 are unlabelled images
    unlabelled = {case for step in range(4) for case in batches[step].unlabelled.case}
    expected = {f"patient{n}:{i}" for n in (2, 3) for i in range(3)} | {"patient1:0", "patient1:1"}
    assert unlabelled == expected


def test_without_augmentation_a_sample_is_the_slice(source, catalogue):
    batch = StageBatches(source, PLAIN, STAGE, seed=0)[0].labelled
    for row, name in enumerate(batch.case):
        case, index = name.split(":")
        with h5py.File(catalogue.by_id[case].images[0]) as file:
            image, label = file["image"][int(index)], file["label"][int(index)]
            everything = file["image"][:]
        expected = (image - everything.mean()) / everything.std()
        np.testing.assert_allclose(batch.image[row, 0], expected, atol=5e-3)
        assert np.array_equal(batch.label[row], label)
    assert batch.valid.all()


def test_ignored_voxels_are_not_valid(catalogue, tmp_path):
    label = np.ones(SHAPE, np.uint8)
    label[:, :4] = 7
    write_case(tmp_path, 0, label)
    labels = LabelSet(names=("background", "one", "two"), values=(0, 1, 2), ignore=7)
    changed = type(catalogue)(**{**catalogue.__dict__, "labels": labels})
    source = make_source(changed, tmp_path, Split(labelled=("patient0",), unlabelled=("patient2",)))
    stream = StageBatches(source, PLAIN, STAGE, seed=0)[0].labelled
    assert not stream.valid[:, :4].any() and stream.valid[:, 4:].all()
    assert stream.label.min() >= 0 and stream.label.max() < 3


def test_a_slice_that_is_not_there_is_refused(catalogue, tmp_path):
    with pytest.raises(DataError, match=r"patient0:5: the case has slices 0 to 2"):
        make_source(catalogue, tmp_path, Split(labelled=("patient0:5",), unlabelled=("patient2",)))


def test_blocks_of_volumes(catalogue, tmp_path, monkeypatch):
    monkeypatch.setattr(loader, "FOREGROUND", 1.0)
    source = make_source(catalogue, tmp_path, dims=3)
    stage = Stage(labelled_batch=6, unlabelled_batch=2)
    batch = StageBatches(source, Views(weak=WeakView(rotation=15), unlabelled=True), stage, seed=0)[0]
    assert batch.labelled.image.shape == (6, 1, 2, 8, 6)
    # of patient1 one slice is labelled: its patches contain it, and nothing else of it is valid
    for row, case in enumerate(batch.labelled.case):
        if case == "patient1":
            assert batch.labelled.valid[row].any()
            assert not batch.labelled.valid[row].all()
    assert {"patient0", "patient1"} == set(batch.labelled.case)


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0.0, 0.2), (loader.FOREGROUND, 0.4, 0.7), (1.0, 1.0, 1.0)])
def test_so_many_patches_are_centred_on_a_structure(tmp_path, monkeypatch, share, low, high):
    """One labelled voxel in the corner of a volume; a patch reaches it by chance, or because it is centred there."""
    label = np.zeros(SHAPE, np.uint8)
    label[0, 0, 0] = 1
    cases = tuple(write_case(tmp_path, number, label) for number in range(2))
    labels = LabelSet(names=("background", "one"), values=(0, 1))
    catalogue = Catalogue(name="", channels=("MR",), labels=labels, planar=False, layout="ssl4mis", cases=cases)
    monkeypatch.setattr(loader, "FOREGROUND", share)
    source = make_source(catalogue, tmp_path, Split(labelled=("patient0",)), dims=3, patch_size=(1, 3, 3))
    batches = StageBatches(source, Views(weak=WeakView()), Stage(labelled_batch=100), seed=0)
    assert low <= float((batches[0].labelled.label == 1).flatten(1).any(1).float().mean()) <= high


def test_training_opens_no_other_mask(catalogue, tmp_path):
    """Deleting the mask of every unlabelled and test case changes nothing: nobody can look."""
    before = StageBatches(make_source(catalogue, tmp_path / "a"), VIEWS, STAGE, seed=0)[0]
    for case in catalogue.cases[2:4] + catalogue.cases[5:]:
        with h5py.File(case.images[0], "a") as file:
            del file["label"]
    after = StageBatches(make_source(catalogue, tmp_path / "b"), VIEWS, STAGE, seed=0)[0]
    assert same(before, after)


def test_whole_cases_come_without_label(source):
    stream = source.whole("patient2")
    assert stream.image.shape == (3, 1, 9, 11) and stream.label is None and stream.case == ("patient2",)
    assert source.cases("unlabelled") == ("patient2", "patient3", "patient1")
