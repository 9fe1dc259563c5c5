"""Evaluation of folders of masks: the files it writes, the unit it averages over, and what it refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from fewmask.data.catalogue import Catalogue
from fewmask.errors import DataError, SettingsError
from fewmask.evaluation import evaluate
from fewmask.types import Case, LabelSet

LABELS = LabelSet(names=("background", "cavity", "wall"), values=(0, 100, 200), ignore=255)
SPACING_MM = (8.0, 1.5, 1.25)
COLUMNS = "case,patient,class,dice,iou,hd95_mm,assd_mm,surface_dice_1mm,volume_ml,reference_volume_ml,note"


def ball(shift: int = 0) -> np.ndarray:
    """(7, 17, 23) uint8 raw values: a cavity of 100 in a wall of 200."""
    z, y, x = np.ogrid[:7, :17, :23]
    distance = ((z - 3) * 2) ** 2 + (y - 8) ** 2 + (x - 9 - shift) ** 2
    return np.where(distance < 16, 100, np.where(distance < 36, 200, 0)).astype(np.uint8)


def save_nifti(path: Path, mask: np.ndarray, spacing_mm=SPACING_MM, origin_mm=(0.0, 0.0, 0.0)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([*spacing_mm[::-1], 1.0])
    affine[:3, 3] = origin_mm
    nib.save(nib.Nifti1Image(mask.transpose(2, 1, 0), affine), path)
    return path


def save_png(path: Path, mask: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)
    return path


def catalogue(masks: dict[str, Path | None], labels: LabelSet = LABELS, planar: bool = False) -> Catalogue:
    """Cases named patient_frame."""
    cases = tuple(
        Case(id=name, patient=name.split("_")[0], images=(path or Path("unread"),), label=path)
        for name, path in masks.items()
    )
    return Catalogue(name="toy", channels=("image",), labels=labels, planar=planar, layout="toy", cases=cases)


@pytest.fixture
def volumes(tmp_path):
    """Two patients with two frames each: a perfect, a shifted, a missed and an absent wall."""
    wanted = {"p1_a": ball(), "p1_b": ball(), "p2_a": ball(), "p2_b": np.where(ball() == 200, 0, ball())}
    predicted = {"p1_a": ball(), "p1_b": ball(2), "p2_a": np.where(ball() == 200, 0, ball()), "p2_b": wanted["p2_b"]}
    for name, mask in predicted.items():
        save_nifti(tmp_path / "predictions" / f"{name}.nii.gz", mask.astype(np.uint8))
    files = {
        name: save_nifti(tmp_path / "truth" / f"{name}.nii.gz", mask.astype(np.uint8)) for name, mask in wanted.items()
    }
    return tmp_path / "predictions", catalogue(files), tmp_path / "out"


def table(out: Path, name: str = "metrics.csv") -> list[dict[str, str]]:
    with open(out / name, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_metrics_csv_has_a_row_per_case_and_class(volumes):
    predictions, reference, out = volumes
    evaluate(predictions, reference, out)
    assert (out / "metrics.csv").read_text(encoding="utf-8").splitlines()[0] == COLUMNS
    rows = {(row["case"], row["class"]): row for row in table(out)}
    assert len(rows) == 8
    perfect = rows["p1_a", "cavity"]
    assert (perfect["patient"], perfect["dice"], perfect["iou"], perfect["hd95_mm"]) == ("p1", "1", "1", "0")
    volume_ml = float((ball() == 100).sum()) * np.prod(SPACING_MM) / 1000
    assert float(perfect["volume_ml"]) == pytest.approx(volume_ml, rel=1e-5)
    assert perfect["volume_ml"] == perfect["reference_volume_ml"]
    shifted = rows["p1_b", "cavity"]
    assert 0 < float(shifted["dice"]) < 1
    assert float(shifted["hd95_mm"]) == pytest.approx(2.5)
    assert [rows[case, "wall"]["note"] for case in ("p1_a", "p2_a", "p2_b")] == ["", "missed", "both_empty"]
    assert rows["p2_b", "wall"]["dice"] == rows["p2_b", "wall"]["hd95_mm"] == ""
    diagonal_mm = np.linalg.norm(np.array(ball().shape) * SPACING_MM)
    assert float(rows["p2_a", "wall"]["assd_mm"]) == pytest.approx(diagonal_mm, rel=1e-5)


def test_summary_is_the_mean_over_cases_then_classes(volumes):
    predictions, reference, out = volumes
    summary = evaluate(predictions, reference, out, split="val")
    assert json.loads((out / "summary.json").read_text(encoding="utf-8")) == summary
    by_class = {name: [row["dice"] for row in table(out) if row["class"] == name] for name in ("cavity", "wall")}
    means = {name: np.mean([float(value) for value in values if value]) for name, values in by_class.items()}
    assert summary["dice"]["mean"] == pytest.approx(np.mean(list(means.values())), rel=1e-5)
    assert summary["dice"]["low"] <= summary["dice"]["mean"] <= summary["dice"]["high"]
    for name, mean in means.items():
        assert summary["per_class"][name]["dice"]["mean"] == pytest.approx(mean, rel=1e-5)
    assert {"dice", "iou", "hd95_mm", "assd_mm", "surface_dice_1mm"} <= summary.keys()
    counts = {key: summary[key] for key in ("cases", "groups", "missed", "hallucinated", "both_empty")}
    assert counts == {"cases": 4, "groups": 2, "missed": 1, "hallucinated": 0, "both_empty": 1}
    assert summary["per_class"]["wall"]["missed"] == 1
    assert (summary["protocol"], summary["split"], summary["without_reference"]) == ("mm", "val", 0)


def test_only_the_cases_asked_for_are_scored(volumes):
    predictions, reference, out = volumes
    summary = evaluate(predictions, reference, out, cases=["p1_a"])
    assert summary["cases"] == 1
    assert summary["dice"] == {"mean": 1.0, "low": None, "high": None}


def test_voxel_protocol_says_so_in_its_columns(volumes):
    predictions, reference, out = volumes
    summary = evaluate(predictions, reference, out, protocol="voxel")
    assert summary["protocol"] == "voxel"
    assert "hd95_voxel" in summary and "hd95_mm" not in summary and "surface_dice_1mm" not in summary
    shifted = next(row for row in table(out) if row["case"] == "p1_b" and row["class"] == "cavity")
    assert float(shifted["hd95_voxel"]) == 2.0
    assert shifted["surface_dice_1mm"] == shifted["volume_ml"] == shifted["reference_volume_ml"] == ""


def test_auto_is_voxel_where_one_case_has_no_spacing(tmp_path):
    masks = {"p1_a": save_png(tmp_path / "truth" / "p1_a.png", ball()[3])}
    save_png(tmp_path / "predictions" / "p1_a.png", ball()[3])
    assert evaluate(tmp_path / "predictions", catalogue(masks), tmp_path / "out")["protocol"] == "voxel"
    with pytest.raises(SettingsError, match="p1_a has no voxel spacing in its file; use --protocol voxel"):
        evaluate(tmp_path / "predictions", catalogue(masks), tmp_path / "out", protocol="mm")


def test_what_is_ignored_is_not_scored(tmp_path):
    reference, prediction = ball(), ball()
    reference[:, :5] = 255
    prediction[:, :5] = 100
    masks = {"p1_a": save_nifti(tmp_path / "truth" / "p1_a.nii.gz", reference)}
    save_nifti(tmp_path / "predictions" / "p1_a.nii.gz", prediction)
    summary = evaluate(tmp_path / "predictions", catalogue(masks), tmp_path / "out")
    assert summary["dice"]["mean"] == 1.0
    assert summary["hd95_mm"]["mean"] == 0.0


def test_a_prediction_of_the_ignored_value_belongs_to_no_class(tmp_path):
    masks = {"p1_a": save_nifti(tmp_path / "truth" / "p1_a.nii.gz", ball())}
    prediction = ball()
    prediction[prediction == 100] = 255
    save_nifti(tmp_path / "predictions" / "p1_a.nii.gz", prediction)
    summary = evaluate(tmp_path / "predictions", catalogue(masks), tmp_path / "out")
    assert summary["per_class"]["cavity"]["missed"] == 1
    assert summary["per_class"]["wall"]["dice"]["mean"] == 1.0


@pytest.fixture
def pictures(tmp_path):
    """Six sequences of two frames; a large perfect frame and a small one with nothing right."""
    masks = {}
    for sequence in "abcdef":
        large, small = np.zeros((2, 20, 30), np.uint8)
        large[2:12, 2:22] = 100
        small[3:5, 3:8] = 100
        masks[f"{sequence}_1"] = save_png(tmp_path / "truth" / f"{sequence}_1.png", large)
        masks[f"{sequence}_2"] = save_png(tmp_path / "truth" / f"{sequence}_2.png", small)
        save_png(tmp_path / "predictions" / f"{sequence}_1.png", large)
        save_png(tmp_path / "predictions" / f"{sequence}_2.png", np.roll(small, 10, axis=0))
    return tmp_path / "predictions", masks, tmp_path / "out"


def test_pictures_are_pooled_by_group_with_the_frames_beside(pictures):
    predictions, masks, out = pictures
    summary = evaluate(predictions, catalogue(masks, planar=True), out)
    pooled = 2 * 200 / (2 * 200 + 20)
    assert summary["per_class"]["cavity"]["dice"]["mean"] == pytest.approx(pooled)
    assert summary["per_frame"]["dice"] == pytest.approx(0.5)
    assert summary["hd95_voxel"]["mean"] == summary["per_frame"]["hd95_voxel"] == 5.0
    assert (summary["cases"], summary["groups"]) == (12, 6)
    assert summary["dice"]["low"] == pytest.approx(pooled)
    assert summary["per_class"]["wall"]["dice"]["mean"] is None
    groups = [row for row in table(out, "groups.csv") if row["class"] == "cavity"]
    assert [row["patient"] for row in groups] == list("abcdef")
    assert all(float(row["dice"]) == pytest.approx(pooled, rel=1e-5) and row["frames"] == "2" for row in groups)
    assert len(table(out)) == 24


def test_under_five_groups_of_pictures_there_is_no_interval(pictures):
    predictions, masks, out = pictures
    few = {name: path for name, path in masks.items() if name[0] in "abcd"}
    dice = evaluate(predictions, catalogue(few, planar=True), out)["dice"]
    assert dice["mean"] is not None
    assert dice["low"] is dice["high"] is None


def test_a_folder_of_masks_is_a_reference(volumes, tmp_path):
    predictions, reference, out = volumes
    named = evaluate(predictions, reference, out)
    plain = evaluate(predictions, tmp_path / "truth", tmp_path / "plain")
    assert plain["dice"]["mean"] == named["dice"]["mean"]
    assert list(plain["per_class"]) == ["100", "200"]
    assert plain["groups"] == 4  # p1_a tells no patient


def test_in_a_folder_of_masks_folders_are_groups_and_predicted_values_are_classes(tmp_path):
    for folder in ("truth", "predictions"):
        for name in ("seq 1/001.png", "seq 1/002.png", "séq 2/001.png"):
            mask = np.zeros((9, 11), np.uint8)
            mask[2:5, 3:7] = 255
            if folder == "predictions":
                mask[8, 8] = 7
            save_png(tmp_path / folder / name, mask)
    summary = evaluate(tmp_path / "predictions", tmp_path / "truth", tmp_path / "out")
    assert (summary["cases"], summary["groups"]) == (3, 2)
    assert summary["per_class"]["255"]["dice"]["mean"] == 1.0
    assert summary["per_class"]["7"]["hallucinated"] == 3
    assert {row["patient"] for row in table(tmp_path / "out")} == {"seq 1", "séq 2"}


def test_a_missing_prediction_is_an_error_and_no_smaller_mean(volumes, tmp_path):
    predictions, reference, out = volumes
    (predictions / "p1_b.nii.gz").unlink()
    with pytest.raises(DataError, match=r"no prediction for 1 of 4 cases \(p1_b\); predict them first"):
        evaluate(predictions, reference, out)
    with pytest.raises(DataError, match=r"no prediction for 1 of 4 cases \(p1_b\)"):
        evaluate(predictions, tmp_path / "truth", out)
    assert not out.exists()


def test_a_prediction_of_another_shape_is_refused(volumes):
    predictions, reference, out = volumes
    save_nifti(predictions / "p1_b.nii.gz", ball()[:-1])
    with pytest.raises(
        DataError, match=r"p1_b: prediction p1_b.nii.gz and its reference differ in shape \(6, 17, 23\)"
    ):
        evaluate(predictions, reference, out)


def test_a_prediction_at_another_place_is_refused(volumes):
    predictions, reference, out = volumes
    save_nifti(predictions / "p1_b.nii.gz", ball(), origin_mm=(4.0, 0.0, 0.0))
    with pytest.raises(DataError, match=r"p1_b: .* differ in position or direction, by up to 4 mm"):
        evaluate(predictions, reference, out)


def test_a_value_that_is_no_class_is_refused(volumes):
    predictions, reference, out = volumes
    save_nifti(predictions / "p1_b.nii.gz", np.where(ball() == 100, 99, ball()).astype(np.uint8))
    with pytest.raises(DataError, match=r"p1_b: prediction p1_b.nii.gz: the mask holds 99, which is no class"):
        evaluate(predictions, reference, out)


def test_two_masks_of_one_name_are_refused(volumes):
    predictions, reference, out = volumes
    save_nifti(predictions / "p1_b.nii", ball())
    with pytest.raises(DataError, match="are both masks of 'p1_b'; remove one"):
        evaluate(predictions, reference, out)


def test_cases_without_a_mask_are_counted_and_not_scored(volumes):
    predictions, reference, out = volumes
    masks = {case.id: case.label for case in reference.cases} | {"p3_a": None}
    assert evaluate(predictions, catalogue(masks), out)["without_reference"] == 0
    assert evaluate(predictions, catalogue(masks), out, cases=["p1_a", "p3_a"])["without_reference"] == 1
    with pytest.raises(DataError, match="test: none of 1 cases has a mask in the reference"):
        evaluate(predictions, catalogue(masks), out, cases=["p3_a"])


def test_unknown_names_are_refused(volumes, tmp_path):
    predictions, reference, out = volumes
    with pytest.raises(DataError, match="test: p9_z not in the reference toy"):
        evaluate(predictions, reference, out, cases=["p1_a", "p9_z"])
    with pytest.raises(SettingsError, match="unknown protocol 'cm'; known: auto, mm, voxel"):
        evaluate(predictions, reference, out, protocol="cm")
    with pytest.raises(DataError, match="nowhere: no such folder"):
        evaluate(tmp_path / "nowhere", reference, out)
    with pytest.raises(DataError, match="nowhere: no such folder"):
        evaluate(predictions, tmp_path / "nowhere", out)


def test_a_reference_without_classes_is_refused(volumes):
    predictions, reference, out = volumes
    masks = {case.id: case.label for case in reference.cases}
    with pytest.raises(DataError, match="no class besides the background"):
        evaluate(predictions, catalogue(masks, labels=LabelSet(names=("background",), values=(0,))), out)
