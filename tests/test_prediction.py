from dataclasses import replace
from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from fewmask import predictors
from fewmask.collection import predict
from fewmask.config import Predict
from fewmask.data import formats
from fewmask.data.cache import Preparation
from fewmask.data.catalogue import Catalogue
from fewmask.data.prepare import prepare
from fewmask.errors import DataError, OutOfMemory, SettingsError
from fewmask.prediction import predict_case
from fewmask.predictors import Model, Predictor, save_model
from fewmask.types import Case, LabelSet, Split
from fewmask.windows import predict_prepared

LABELS = LabelSet(names=("background", "one", "two"), values=(0, 7, 200))


class Rounding(Predictor):
    """The class is the intensity, rounded: a perfect segmenter of images that show their own mask."""

    def __init__(self):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(20.0))

    @property
    def spec(self):
        return {"predictor": "rounding"}

    @classmethod
    def from_spec(cls, spec):
        return cls()

    def forward(self, image, seed):
        classes = torch.arange(3.0).reshape(1, 3, *[1] * (image.ndim - 2))
        return (-self.factor * (image - classes).abs()).softmax(1)


class Noisy(Rounding):
    stochastic = True

    @property
    def spec(self):
        return {"predictor": "noisy"}

    def forward(self, image, seed):
        rows = [torch.randn((3, *image.shape[2:]), generator=torch.Generator().manual_seed(int(s))) for s in seed]
        return torch.stack(rows).softmax(1)


@pytest.fixture(autouse=True)
def known_predictors(monkeypatch):
    monkeypatch.setitem(predictors.PREDICTORS, "rounding", Rounding)
    monkeypatch.setitem(predictors.PREDICTORS, "noisy", Noisy)


def model(dims=2, patch_size=None, predictor=None, channels=1, **preparation):
    return Model(
        predictor=predictor or Rounding(),
        labels=LABELS,
        preparation={"dims": dims, "channels": channels, **preparation},
        intensity="rgb",
        fingerprint={"mean": [0.0] * channels, "std": [1.0] * channels},
        patch_size=patch_size or (16,) * dims,
        channels=tuple(map(str, range(channels))),
        flip=(0, 1),
    )


def classes(shape=(5, 17, 23), seed=0):
    return np.random.default_rng(seed).integers(0, 3, shape).astype(np.uint8)


def save_volume(path, values, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([1.25, 1.5, 8.0, 1.0]) if affine is None else affine
    nib.save(nib.Nifti1Image(values.T.astype(np.float32), affine), path)
    return path


def as_case(path):
    return Case(id=formats.stem(path), patient="", images=(path,))


def stored(path):
    return np.asarray(nib.load(path).dataobj).T


OBLIQUE = np.array([[0.9, 0.1, -0.2], [-0.15, 0.95, 0.1], [0.2, -0.1, 0.9]])
ORDERS = [(order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]


@pytest.mark.slow
@pytest.mark.parametrize("dims", [2, 3])
def test_every_orientation_comes_back_voxel_by_voxel_with_its_header(tmp_path, dims):
    save_model(model(dims), tmp_path / "model")
    truth = classes()
    (tmp_path / "in").mkdir()
    for number, (order, signs) in enumerate(ORDERS):
        turned = OBLIQUE[:, order] * signs * [1.25, 1.5, 4.0]
        affine = np.block([[turned, np.array([[-11.5], [7.25], [101.0]])], [np.zeros((1, 3)), np.ones((1, 1))]])
        image = nib.Nifti1Image(truth.T.astype(np.float32), affine)
        image.set_qform(affine, code=1 + number % 2, strip_shears=True)
        image.set_sform(affine, code=2 + number % 3)
        nib.save(image, tmp_path / "in" / f"c{number:02d}.nii")
    written = predict(tmp_path / "model", [tmp_path / "in"], tmp_path / "out", device="cpu", quiet=True)
    assert len(written) == len(ORDERS) == 48
    for path in written:
        before, after = nib.load(tmp_path / "in" / path.stem), nib.load(path)
        assert np.array_equal(stored(path), np.array(LABELS.values)[truth])
        for field in ("sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "quatern_b", "quatern_c", "quatern_d"):
            assert np.array_equal(before.header[field], after.header[field]), field
        assert np.array_equal(before.header["pixdim"][:4], after.header["pixdim"][:4])
        assert after.get_data_dtype() == np.uint8
        assert float(after.header["intent_code"]) == 1002


@pytest.mark.parametrize(
    "prepared",
    [{"dims": 2, "size": [32, 40]}, {"dims": 2, "size": [9, 11]}, {"dims": 3, "spacing_mm": [4.0, 1.0, 2.0]}],
)
def test_a_resized_structure_comes_back_in_place(tmp_path, prepared):
    truth = np.zeros((6, 34, 46), np.uint8)
    truth[1:5, 8:26, 10:32] = 1
    path = save_volume(tmp_path / "a.nii.gz", truth)
    found = predict_case(model(**prepared), as_case(path), settings=Predict()).mask == 7
    overlap = 2 * (found & (truth == 1)).sum() / (found.sum() + (truth == 1).sum())
    assert overlap > 0.9
    centre, expected = (np.argwhere(mask).mean(0) for mask in (found, truth == 1))
    np.testing.assert_allclose(centre, expected, atol=0.3)


def test_validation_and_prediction_see_the_same(tmp_path):
    """The cache's way and the file's way give equal probabilities: same preparation, rounding and normalisation."""
    path = save_volume(tmp_path / "a.nii.gz", np.random.default_rng(0).normal(300, 90, (5, 17, 23)))
    case = as_case(path)
    settings = {"dims": 2, "size": (17, 23)}
    chosen = replace(model(**settings, patch_size=(17, 23)), intensity="zscore", fingerprint={})
    catalogue = Catalogue(
        name="", channels=("0",), labels=LABELS, planar=False, layout="", cases=(case,), lists={}, findings=()
    )
    cache = prepare(catalogue, Split(labelled=(), unlabelled=("a",)), Preparation(**settings), tmp_path, quiet=True)
    there = predict_prepared(
        chosen.predictor,
        cache.normalised("a", "zscore", {}),
        case="a",
        patch_size=(17, 23),
        settings=Predict(),
    )
    here = predict_case(chosen, case, settings=Predict(), probabilities=True)
    assert np.array_equal(cache.open("a").orientation.undo(there), here.probabilities)


def test_h5_and_pictures_in_their_own_format(tmp_path):
    import h5py

    save_model(model(), tmp_path / "model")
    truth = classes((1, 17, 23))
    with h5py.File(tmp_path / "volume.h5", "w") as file:
        file["image"] = classes().astype(np.float32)
        file["label"] = np.full((2, 2), 99)  # never looked at
    Image.fromarray(truth[0]).save(tmp_path / "picture.png")
    names = ["volume.h5", "picture.png"]
    written = predict(tmp_path / "model", [tmp_path / n for n in names], tmp_path / "out", device="cpu", quiet=True)
    assert [path.name for path in written] == ["volume.nii.gz", "picture.png"]
    assert np.array_equal(stored(written[0]), np.array(LABELS.values)[classes()])
    header = nib.load(written[0]).header
    assert np.array_equal(header.get_sform(), np.eye(4)) and header["sform_code"] == 0
    assert np.array_equal(np.asarray(Image.open(written[1])), np.array(LABELS.values)[truth[0]])


def test_format_overrides_and_is_checked(tmp_path):
    save_model(model(), tmp_path / "model")
    Image.fromarray(classes((17, 23))).save(tmp_path / "picture.png")
    volume = save_volume(tmp_path / "volume.nii.gz", classes())

    def run(path, format):
        return predict(tmp_path / "model", [path], tmp_path / "out", format=format, device="cpu", quiet=True)

    assert run(tmp_path / "picture.png", "nifti")[0].name == "picture.nii.gz"
    with pytest.raises(SettingsError, match=r"--format png: volume has shape \(5, 17, 23\)"):
        run(volume, "png")
    with pytest.raises(SettingsError, match="--format nift; did you mean 'nifti'"):
        run(volume, "nift")
    with pytest.raises(SettingsError, match="--samples 0"):
        predict(tmp_path / "model", [volume], tmp_path / "out", samples=0)
    with pytest.raises(SettingsError, match="--device tpux"):
        predict(tmp_path / "model", [volume], tmp_path / "out", device="tpux")


def test_probabilities_and_uncertainty_are_on_the_native_grid(tmp_path):
    save_model(model(dims=2, size=[20, 20]), tmp_path / "model")
    affine = np.array([[0, 0, 8.0, 3], [-1.25, 0, 0, 5], [0, 1.5, 0, 7], [0, 0, 0, 1]])
    path = save_volume(tmp_path / "a.nii.gz", classes(), affine)
    out = tmp_path / "out"
    (mask,) = predict(tmp_path / "model", [path], out, probabilities=True, uncertainty=True, device="cpu", quiet=True)
    probabilities = nib.load(out / "probabilities" / "a.nii.gz")
    uncertainty = nib.load(out / "uncertainty" / "a.nii.gz")
    assert probabilities.shape == (*nib.load(path).shape, 3)
    values = probabilities.get_fdata()
    np.testing.assert_allclose(values.sum(-1), 1, atol=1e-5)
    assert np.array_equal(np.array(LABELS.values)[values.argmax(-1)], np.asarray(nib.load(mask).dataobj))
    entropy = -(values * np.log(np.maximum(values, 1e-30))).sum(-1) / np.log(3)
    np.testing.assert_allclose(uncertainty.get_fdata(), entropy, atol=1e-4)
    assert uncertainty.get_fdata().min() >= 0 and uncertainty.get_fdata().max() <= 1 + 1e-6
    assert np.array_equal(probabilities.affine, nib.load(path).affine)


def test_chance_depends_on_neither_order_nor_batch(tmp_path):
    save_model(model(predictor=Noisy(), patch_size=(17, 23)), tmp_path / "model")
    paths = [save_volume(tmp_path / f"{name}.nii.gz", classes(seed=seed)) for seed, name in enumerate("ab")]

    def run(name, inputs, **settings):
        written = predict(
            tmp_path / "model",
            inputs,
            tmp_path / name,
            settings=Predict(**settings),
            device="cpu",
            quiet=True,
            samples=2,
        )
        return {path.name: stored(path) for path in written}

    first, second = run("x", paths, batch=16), run("y", paths[::-1], batch=2)
    assert list(first) == ["a.nii.gz", "b.nii.gz"] and list(second) == ["b.nii.gz", "a.nii.gz"]
    for name in first:
        assert np.array_equal(first[name], second[name])
    assert not np.array_equal(first["a.nii.gz"], first["b.nii.gz"])


def test_a_rerun_keeps_what_is_complete_and_another_model_redoes_it(tmp_path):
    save_model(model(), tmp_path / "model")
    path = save_volume(tmp_path / "a.nii.gz", classes())

    def run():
        (mask,) = predict(tmp_path / "model", [path], tmp_path / "out", device="cpu", quiet=True)
        return mask.stat().st_mtime_ns

    first = run()
    assert run() == first
    other = Rounding()
    other.factor.data.fill_(30)
    save_model(model(predictor=other), tmp_path / "model")
    assert run() != first


def test_a_killed_run_leaves_no_half_mask_and_is_continued(tmp_path, monkeypatch):
    save_model(model(), tmp_path / "model")
    inputs = [save_volume(tmp_path / f"{name}.nii.gz", classes(seed=seed)) for seed, name in enumerate("abc")]
    written, real = [], formats.write_mask

    def killed(path, *rest):
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(path)
        real(path, *rest)

    monkeypatch.setattr(formats, "write_mask", killed)
    with pytest.raises(KeyboardInterrupt):
        predict(tmp_path / "model", inputs, tmp_path / "out", device="cpu", quiet=True)
    assert [path.name for path in (tmp_path / "out").glob("*.nii.gz")] == ["a.nii.gz"]
    moment = written[0].stat().st_mtime_ns
    monkeypatch.setattr(formats, "write_mask", real)
    assert len(predict(tmp_path / "model", inputs, tmp_path / "out", device="cpu", quiet=True)) == 3
    assert written[0].stat().st_mtime_ns == moment
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "a.nii.gz",
        "b.nii.gz",
        "c.nii.gz",
        "labels.ctbl",
        "labels.itksnap.txt",
        ".fewmask.jsonl",
        "evidence",
        "trust.csv",
    }


def test_someone_elses_mask_is_not_replaced(tmp_path):
    save_model(model(), tmp_path / "model")
    path = save_volume(tmp_path / "a.nii.gz", classes())
    mine = save_volume(tmp_path / "out" / "a.nii.gz", classes())
    before = mine.read_bytes()
    with pytest.raises(SettingsError, match="choose another --out"):
        predict(tmp_path / "model", [path], tmp_path / "out", device="cpu", quiet=True)
    assert mine.read_bytes() == before


def test_a_device_that_is_not_there_is_said(tmp_path):
    save_model(model(), tmp_path / "model")
    path = save_volume(tmp_path / "a.nii.gz", classes())
    with pytest.raises(SettingsError, match="--device cuda"):
        predict(tmp_path / "model", [path], tmp_path / "out", device="cuda:99", quiet=True)


def test_its_own_masks_are_no_images(tmp_path):
    save_model(model(), tmp_path / "model")
    images = tmp_path / "images"
    save_volume(images / "a.nii.gz", classes())
    for _ in range(2):
        written = predict(tmp_path / "model", [images], images / "masks found", device="cpu", quiet=True)
        assert [path.name for path in written] == ["a.nii.gz"]
    with pytest.raises(SettingsError, match="the folder of the images; name another one"):
        predict(tmp_path / "model", [images], images, device="cpu", quiet=True)


def test_masks_are_not_needed_and_not_opened(tmp_path):
    save_model(model(), tmp_path / "model")
    path = save_volume(tmp_path / "images" / "a.nii.gz", classes())
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "a.nii.gz").write_text("poison")
    data = [Case(id="a", patient="", images=(path,), label=tmp_path / "gone.nii.gz")]
    assert len(predict(tmp_path / "model", [], tmp_path / "out1", cases=data, device="cpu", quiet=True)) == 1
    folder = tmp_path / "set"
    folder.mkdir()
    (tmp_path / "images").rename(folder / "images")
    (tmp_path / "masks").rename(folder / "masks")
    assert len(predict(tmp_path / "model", [folder], tmp_path / "out2", device="cpu", quiet=True)) == 1


def test_memory_is_told_before_and_refused_in_time(tmp_path, capsys, monkeypatch):
    save_model(model(), tmp_path / "model")
    path = save_volume(tmp_path / "a.nii.gz", classes())
    predict(tmp_path / "model", [path], tmp_path / "out", device="cpu")
    assert "the largest, a (5 x 17 x 23), takes about 0.0" in capsys.readouterr().err
    monkeypatch.setattr("fewmask.memory.available_bytes", lambda: 1000)
    with pytest.raises(OutOfMemory, match="a: needs about"):
        predict(tmp_path / "model", [path], tmp_path / "out2", device="cpu", quiet=True)
    assert not list((tmp_path / "out2").glob("*.nii.gz"))


def test_memory_that_runs_out_all_the_same_is_said(tmp_path, monkeypatch):
    path = save_volume(tmp_path / "a.nii.gz", classes())

    def full(*_):
        raise MemoryError

    monkeypatch.setattr(Rounding, "forward", full)
    with pytest.raises(OutOfMemory, match=r"a: memory is full; lower predict\.batch \(16\)"):
        predict_case(model(), as_case(path), settings=Predict())


def test_wrong_images_are_named(tmp_path):
    path = save_volume(tmp_path / "a.nii.gz", classes())
    with pytest.raises(DataError, match="a: 1 channels where 2 are expected"):
        predict_case(model(channels=2), as_case(path), settings=Predict())
    (tmp_path / "b.nii.gz").write_text("text")
    with pytest.raises(DataError, match=r"b\.nii\.gz"):
        predict_case(model(), as_case(tmp_path / "b.nii.gz"), settings=Predict())


def test_more_than_255_classes_are_written_as_uint16(tmp_path):
    labels = LabelSet(names=tuple(map(str, range(300))), values=tuple(range(300)))

    class Many(Rounding):
        def forward(self, image, seed):
            index = torch.arange(300.0).reshape(1, 300, 1, 1)
            return (-20 * (image - index).abs()).softmax(1)

    truth = np.arange(5 * 17 * 23).reshape(5, 17, 23) % 300
    path = save_volume(tmp_path / "a.nii.gz", truth)
    found = predict_case(replace(model(predictor=Many()), labels=labels), as_case(path), settings=Predict()).mask
    assert found.dtype == np.uint16 and np.array_equal(found, truth)


def test_an_output_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    save_model(model(), tmp_path / "model")
    path = save_volume(tmp_path / "a.nii.gz", classes())
    (tmp_path / "file").write_text("")
    with pytest.raises(
        SettingsError,
        match=r"file/out: cannot be written \(a file is where its folder should be\); choose another folder",
    ):
        predict(tmp_path / "model", [path], tmp_path / "file" / "out", device="cpu", quiet=True)
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(SettingsError, match="Permission denied"):
        predict(tmp_path / "model", [path], tmp_path / "out", device="cpu", quiet=True)


def test_a_disk_too_small_for_probabilities_is_said(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    path = save_volume(tmp_path / "a.nii.gz", classes())
    with pytest.raises(OutOfMemory, match="for probabilities; free disk"):
        predict_case(model(), as_case(path), settings=Predict(), probabilities=True, scratch=tmp_path)


def test_samples_leave_their_mean_their_entropy_and_each_mask(tmp_path):
    save_model(model(predictor=Noisy(), patch_size=(17, 23)), tmp_path / "model")
    path = save_volume(tmp_path / "a.nii.gz", classes())

    def run(out, **options):
        (mask,) = predict(tmp_path / "model", [path], tmp_path / out, device="cpu", quiet=True, **options)
        return stored(mask)

    once = run("one")
    folders = {entry.name for entry in (tmp_path / "one").iterdir() if entry.is_dir()}
    assert not folders & {"probabilities", "uncertainty", "samples"}
    mean = run("kept", samples=4, keep_samples=True)
    each = [stored(file) for file in sorted((tmp_path / "kept" / "samples" / "a").iterdir())]
    assert len(each) == 4 and len({sample.tobytes() for sample in each}) == 4
    assert np.array_equal(each[0], once)  # the first sample is what one prediction is
    assert np.array_equal(mean, run("mean", samples=4))
    for out in ("kept", "mean"):
        values = nib.load(tmp_path / out / "probabilities" / "a.nii.gz").get_fdata()
        assert np.array_equal(np.array(LABELS.values)[values.argmax(-1)].T, mean)
        assert (tmp_path / out / "uncertainty" / "a.nii.gz").is_file()
    assert not (tmp_path / "mean" / "samples").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 10_000}, "--samples 10000: at least 1, at most 1000"),
        ({"keep_samples": True}, "--keep-samples: one sample is the mask itself"),
        ({"samples": 3, "keep_samples": True}, "draws nothing at random; leave it and --samples out"),
        ({"settings": Predict(flips=True)}, "--flips: .*model learnt no mirrored images; leave it out, or train with"),
    ],
)
def test_impossible_options_are_refused_before_anything_is_written(tmp_path, options, message):
    save_model(replace(model(), flip=()), tmp_path / "model")
    path = save_volume(tmp_path / "a.nii.gz", classes())
    with pytest.raises(SettingsError, match=message):
        predict(tmp_path / "model", [path], tmp_path / "out", device="cpu", quiet=True, **options)
    assert not (tmp_path / "out").exists()


def test_kept_samples_are_no_masks_to_evaluate(tmp_path):
    from fewmask.pairing import masks_by_name

    save_model(model(predictor=Noisy(), patch_size=(17, 23)), tmp_path / "model")
    path = save_volume(tmp_path / "a.nii.gz", classes())
    predict(tmp_path / "model", [path], tmp_path / "out", device="cpu", quiet=True, samples=2, keep_samples=True)
    assert list(masks_by_name(tmp_path / "out")) == ["a"]
