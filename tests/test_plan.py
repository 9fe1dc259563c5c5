"""The planning rules, each against a catalogue made for it; which masks a plan opens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from fewmask import config, plan
from fewmask.data.catalogue import Catalogue
from fewmask.errors import DataError, SettingsError
from fewmask.types import Case, LabelSet, Split

LABELS = LabelSet(names=("background", "one", "two"), values=(0, 1, 2))


def catalogue_of(paths: list[Path], **changes) -> Catalogue:
    cases = tuple(Case(id=path.name.split(".")[0], patient=path.name, images=(path,), label=path) for path in paths)
    values = {
        "name": "test",
        "channels": ("MR",),
        "labels": LABELS,
        "planar": False,
        "layout": "nnunet",
        "cases": cases,
    }
    return Catalogue(**{**values, "lists": {}, "findings": (), **changes})


def volume(path: Path, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> Path:
    """A NIfTI (x, y, z) of `shape` (D, H, W) and `spacing_mm` (D, H, W), in RAS."""
    nib.save(nib.Nifti1Image(np.zeros(shape[::-1], np.uint8), np.diag([*spacing_mm[::-1], 1])), path)
    return path


def picture(path: Path, array: np.ndarray) -> Path:
    Image.fromarray(array).save(path)
    return path


def planned(catalogue: Catalogue, wanted: config.Plan | None = None, fixed: tuple[str, ...] = (), size=(32, 48, 32)):
    split = Split(labelled=(catalogue.cases[0].id,), unlabelled=tuple(case.id for case in catalogue.cases[1:]))
    wanted = wanted or config.Plan()
    rank = plan.plan_rank(catalogue, split, wanted, "cpu")
    if wanted.size is None:
        wanted = wanted.model_copy(update={"size": size[-rank.dims :]})
    return plan.make_plan(catalogue, split, rank, wanted, "tier recipe cpu", fixed)


def reason(result: plan.Planned, setting: str) -> str:
    return next(why for name, _, why in result.reasons if name == setting)


def test_isotropic_volumes_are_planned_in_3d(tmp_path: Path) -> None:
    spacings = [(1.0, 1.0, 1.0), (1.0, 1.0, 2.0), (3.0, 1.0, 1.5)]
    paths = [volume(tmp_path / f"c{i}.nii.gz", (40, 50, 36), spacing) for i, spacing in enumerate(spacings)]
    result = planned(catalogue_of(paths))
    assert (result.settings.tier, result.settings.dims) == ("cpu", 3)
    assert result.settings.spacing_mm == (1.0, 1.0, 1.5)
    assert [name for name, _, _ in result.reasons] == [
        "plan.tier",
        "plan.dims",
        "plan.spacing_mm",
        "plan.size",
        "plan.intensity",
        "plan.flip",
        "plan.rotation",
    ]
    assert "None" not in str(result.settings.size)


def test_thick_slices_are_planned_in_2d(tmp_path: Path) -> None:
    result = planned(catalogue_of([volume(tmp_path / "c.nii.gz", (9, 40, 44), (10.0, 1.5, 1.5))]))
    assert (result.settings.dims, result.settings.size, result.settings.spacing_mm) == (2, (48, 32), None)
    assert reason(result, "plan.dims") == "spacing ratio 6.7 is over 3"


@pytest.mark.parametrize(("ratio", "dims"), [(3.0, 3), (3.1, 2)])
def test_the_ratio_that_decides(tmp_path: Path, ratio: float, dims: int) -> None:
    assert planned(catalogue_of([volume(tmp_path / "c.nii.gz", (9, 30, 30), (ratio, 1.0, 1.0))])).settings.dims == dims


def test_h5_without_spacing_is_2d_unless_the_layout_is_isotropic(tmp_path: Path) -> None:
    path = tmp_path / "c.h5"
    with h5py.File(path, "w") as file:
        file["image"], file["label"] = np.zeros((20, 30, 40), np.float32), np.zeros((20, 30, 40), np.uint8)
    assert planned(catalogue_of([path], layout="ssl4mis")).settings.dims == 2
    result = planned(catalogue_of([path], layout="uamt"))
    assert (result.settings.dims, result.settings.spacing_mm) == (3, None)


def test_single_slices_are_2d(tmp_path: Path) -> None:
    assert planned(catalogue_of([volume(tmp_path / "c.nii.gz", (1, 40, 44), (1.0, 1.0, 1.0))])).settings.dims == 2


@pytest.mark.parametrize(
    ("channels", "planar", "kind"),
    [
        (("CT",), False, "ct"),
        (("ct", "CT"), False, "ct"),
        (("CT", "PET"), False, "zscore"),
        (("T1", "T2"), False, "zscore"),
        (("red", "green", "blue"), True, "rgb"),
        (("grey",), True, "percentile"),
        (("a", "b"), True, "zscore"),
    ],
)
def test_intensity(tmp_path: Path, channels: tuple[str, ...], planar: bool, kind: str) -> None:
    path = picture(tmp_path / "c.png", np.zeros((20, 30), np.uint8))
    result = planned(catalogue_of([path], channels=channels, planar=planar))
    assert result.settings.intensity == kind


@pytest.mark.parametrize(
    ("patch", "shape", "fitted"),
    [
        ((32, 48, 32), (35, 50, 36), (32, 48, 32)),  # as it is
        ((32, 48, 32), (50, 36, 35), (48, 32, 32)),  # the long side goes to the long axis
        ((80, 112, 112), (200, 90, 190), (112, 80, 112)),
        ((32, 48, 32), (20, 100, 100), (16, 48, 32)),  # no longer than the image
        ((32, 48, 32), (5, 5, 5), (8, 8, 8)),
        ((32, 48, 32), (47, 47, 47), (32, 40, 32)),  # equal axes keep the order
    ],
)
def test_fit_patch(patch, shape, fitted) -> None:
    assert plan.fit_patch(patch, shape) == fitted


def test_a_size_that_was_asked_for_stays(tmp_path: Path) -> None:
    catalogue = catalogue_of([volume(tmp_path / "c.nii.gz", (9, 30, 30), (1.0, 1.0, 1.0))])
    result = planned(catalogue, config.Plan(size=(16, 16, 64)), fixed=("size",))
    assert result.settings.size == (16, 16, 64)
    assert reason(result, "plan.size") == "as set"


def test_what_is_set_is_not_decided(tmp_path: Path) -> None:
    catalogue = catalogue_of([volume(tmp_path / "c.nii.gz", (9, 40, 44), (10.0, 1.5, 1.5))])
    wanted = config.Plan(
        tier="paper",
        dims=3,
        size=(16, 16, 16),
        spacing_mm=(5.0, 1.5, 1.5),
        intensity="ct",
        flip=(2, 0, 2),
        rotation=90,
    )
    result = planned(catalogue, wanted, fixed=("size",))
    assert result.settings == wanted.model_copy(update={"flip": (0, 2)})
    assert {why for _, _, why in result.reasons} == {"as set"}


def test_wrong_settings_name_themselves(tmp_path: Path) -> None:
    catalogue = catalogue_of([picture(tmp_path / "c.png", np.zeros((20, 30), np.uint8))], planar=True)
    with pytest.raises(SettingsError, match=r"plan\.size=\[8, 8, 8\]: 2 numbers are needed for plan\.dims=2"):
        planned(catalogue, config.Plan(size=(8, 8, 8)))
    with pytest.raises(SettingsError, match=r"plan\.flip=\[2\]: spatial axes are 0 to 1"):
        planned(catalogue, config.Plan(flip=(2,)))
    with pytest.raises(DataError, match="no training case"):
        plan.plan_rank(catalogue, Split(labelled=()), config.Plan(), "cpu")


def test_a_spacing_that_2d_would_not_use_is_refused(tmp_path: Path) -> None:
    catalogue = catalogue_of([volume(tmp_path / "a.nii.gz", (8, 32, 32), (10.0, 1.0, 1.0))])
    with pytest.raises(SettingsError, match=r"plan.spacing_mm=\[2.0, 2.0, 2.0\]: slices are resized"):
        planned(catalogue, config.Plan(spacing_mm=(2, 2, 2), size=(32, 32)), size=(32, 32))
    with pytest.raises(SettingsError, match=r"plan.zoom=0.5: slices are resized to plan.size"):
        planned(catalogue, config.Plan(zoom=0.5, size=(32, 32)), size=(32, 32))


def test_a_patch_is_fitted_to_the_zoomed_image(tmp_path: Path) -> None:
    catalogue = catalogue_of([volume(tmp_path / "a.nii.gz", (48, 96, 64), (1.0, 1.0, 1.0))])
    result = planned(catalogue, config.Plan(dims=3, zoom=0.5), size=(64, 64, 64))
    assert (result.settings.size, result.settings.zoom) == ((24, 48, 32), 0.5)


def test_tier_follows_the_device() -> None:
    catalogue = catalogue_of([])
    catalogue = replace(catalogue, planar=True, cases=())
    split = Split(labelled=())
    with pytest.raises(DataError):
        plan.plan_rank(catalogue, split, config.Plan(), "cuda:1")
    for device, tier in (("cpu", "cpu"), ("cuda", "paper"), ("cuda:1", "paper")):
        rank = plan.plan_rank(catalogue, split, config.Plan(dims=2), device)
        assert rank.tier == tier


# flips


def test_nothing_is_mirrored_unless_asked(tmp_path: Path) -> None:
    catalogue = catalogue_of([picture(tmp_path / "c.png", np.ones((40, 41), np.uint8))], planar=True)
    result = planned(catalogue)
    assert result.settings.flip == ()
    assert reason(result, "plan.flip") == "scans of mirrored patients do not occur"
    assert planned(catalogue, config.Plan(size=(16, 16), flip=(1, 0))).settings.flip == (0, 1)


# rotation


def test_slices_of_volumes_may_lie_on_their_side_and_nothing_else(tmp_path: Path) -> None:
    pictures = catalogue_of([picture(tmp_path / "c.png", np.ones((40, 41), np.uint8))], planar=True)
    slices = catalogue_of([volume(tmp_path / "thick.nii.gz", (9, 40, 44), (10.0, 1.5, 1.5))])
    volumes = catalogue_of([volume(tmp_path / "cube.nii.gz", (40, 50, 36), (1.0, 1.0, 1.0))])
    assert [planned(data).settings.rotation for data in (pictures, slices, volumes)] == [30, 180, 30]
    result = planned(slices, config.Plan(size=(16, 16), rotation=0))
    assert (result.settings.rotation, reason(result, "plan.rotation")) == (0, "as set")


def test_no_mask_is_opened(tmp_path: Path) -> None:
    catalogue = catalogue_of(
        [picture(tmp_path / f"c{i}.png", np.ones((20, 30), np.uint8)) for i in range(3)], planar=True
    )
    absent = tuple(replace(case, label=tmp_path / "absent.png") for case in catalogue.cases)
    assert planned(replace(catalogue, cases=absent)).settings.dims == 2


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "dims", "intensity"),
    [("cxr_devices", 2, "percentile"), ("Task04_Hippocampus", 3, "zscore"), ("la2018", 3, "zscore")],
)
def test_real_data(real_data: Path, name: str, dims: int, intensity: str) -> None:
    from fewmask.data.catalogue import open_catalogue
    from fewmask.data.splits import choose_split

    catalogue = open_catalogue(real_data / name, quiet=True)
    split = choose_split(catalogue, None if name == "cxr_devices" else "4")[0]
    rank = plan.plan_rank(catalogue, split, config.Plan(), "cpu")
    result = plan.make_plan(catalogue, split, rank, config.Plan(size=(32, 48, 32)[-rank.dims :]))
    assert (result.settings.dims, result.settings.intensity) == (dims, intensity)
