"""The parts of the whole job, one command after the other; broken data."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest


@pytest.mark.slow
def test_part_by_part(fewmask, one_line, phantoms: Path, tiny_words, tmp_path: Path) -> None:
    catalogue, split, cache, run = (tmp_path / name for name in ("catalogue", "roles.json", "cache", "run"))
    status, out, _ = fewmask("scan", phantoms, "--out", catalogue, "--json", "--quiet")
    scanned = json.loads(out)
    assert (status, scanned["cases"], scanned["with_mask"], scanned["patients"]) == (0, 6, 4, 6)
    assert scanned["labels"] == {"background": 0, "RV": 1, "myocardium": 2, "LV": 3}

    words = ("split", catalogue, "--labelled", 2, "--val", 1, "--test", 1, "--out", split)
    assert json.loads(fewmask(*words, "--json")[1])["unlabelled"] == {"cases": 2, "patients": 2}
    out = fewmask(*words)[1]
    assert out.splitlines()[0].startswith("labelled: 2 patients")

    plan = [word for word in tiny_words if word.startswith("plan")]
    status, out, err = fewmask("prepare", catalogue, "--split", split, "--out", cache, *plan)
    assert (status, Path(out.strip()).parent) == (0, cache)
    assert "plan: plan.dims=2  (spacing ratio 5.0 is over 3)" in err

    words = (
        "train",
        catalogue,
        "--method",
        "supervised",
        "--split",
        split,
        "--cache",
        cache,
        "--out",
        run,
        "plan.flip=[1]",
        *tiny_words,
    )
    status, out, err = fewmask(*words, "--device", "cpu")
    assert (status, out) == (0, f"model: {run / 'model'}\n")
    assert "prepare:" not in err  # the cache served
    for more in ((), ("--resume",)):
        assert fewmask(*words, "--device", "cpu", "--quiet", *more)[:2] == (0, f"model: {run / 'model'}\n")
    absent = (*words[: words.index(run)], tmp_path / "absent", *tiny_words, "--resume")
    status, _, err = fewmask(*absent)
    assert status == 2
    assert one_line(err).endswith("holds no run; leave --resume out to begin one")

    masks = tmp_path / "masks"
    images = phantoms / "imagesTr"
    status, out, _ = fewmask("predict", run, images, "--out", masks, "--device", "cpu", "--uncertainty", "--flips")
    assert (status, len(sorted(masks.glob("*.nii.gz")))) == (0, 6)
    assert len(sorted((masks / "uncertainty").glob("*.nii.gz"))) == 6

    scores = tmp_path / "scores"
    status, out, _ = fewmask("evaluate", masks, "--reference", catalogue, "--out", scores, "--json")
    assert (status, json.loads(out)["cases"], json.loads(out)["split"]) == (0, 4, "all")
    assert (scores / "metrics.csv").is_file()
    status, out, _ = fewmask("evaluate", masks, "--reference", catalogue, "--out", scores, "--protocol", "voxel")
    assert "hd95_voxel" in out

    page = tmp_path / "report.html"
    assert fewmask("report", run, "--out", page)[:2] == (0, f"{page}\n")
    assert page.read_text(encoding="utf-8").startswith("<!")


def broken(folder: Path, what: str) -> Path:
    """Make the first mask or image of a copy of the phantoms wrong in one way; returns the file."""
    image = folder / "imagesTr" / "patient001_frame01_0000.nii.gz"
    mask = folder / "labelsTr" / "patient001_frame01.nii.gz"
    if what == "truncated":
        image.write_bytes(image.read_bytes()[:2000])
    elif what == "text":
        image.write_text("not an image")
    elif what == "nan":
        old = nib.load(image)
        array = old.get_fdata(dtype=np.float32)
        array[3, 4, 1] = np.nan
        nib.save(nib.Nifti1Image(array, old.affine), image)
    else:
        old = nib.load(mask)
        array = np.asarray(old.dataobj)
        array = np.where(array == 3, 7, array) if what == "value" else array[:-1]
        nib.save(nib.Nifti1Image(array.astype(np.uint8), old.affine), mask)
        return mask
    return image


@pytest.mark.parametrize("what", ["truncated", "text", "nan", "value", "shape"])
def test_broken_data_is_status_3(fewmask, one_line, phantoms: Path, tmp_path: Path, what: str) -> None:
    data = tmp_path / "Bilder für später"
    shutil.copytree(phantoms, data)
    file = broken(data, what)
    status, _, err = fewmask("scan", data, "--out", tmp_path / "catalogue", "--quiet")
    assert status == 3
    assert file.name.split(".")[0].removesuffix("_0000") in one_line(err)
    assert not (tmp_path / "catalogue" / "cases.csv").exists()


def test_no_mask_at_all(fewmask, one_line, phantoms: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(phantoms / "imagesTr", data / "imagesTr")
    shutil.copy(phantoms / "dataset.json", data)
    status, _, err = fewmask("run", data, "--out", tmp_path / "run", "--quiet")
    assert status == 3
    assert "mask" in one_line(err)


def test_an_empty_folder(fewmask, one_line, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    status, _, err = fewmask("run", tmp_path / "empty", "--out", tmp_path / "run")
    assert status == 3
    assert "empty" in one_line(err)


@pytest.mark.parametrize("command", ["run", "train", "scan", "report"])
def test_an_output_that_cannot_be_written(fewmask, one_line, phantoms: Path, tmp_path: Path, command: str) -> None:
    (tmp_path / "file").write_text("")
    what = phantoms
    if command == "report":
        what = tmp_path / "run"
        what.mkdir()
        (what / "config.yaml").write_text("method: {name: supervised}\n")
    quiet = ["--quiet"] if command == "scan" else []
    status, _, err = fewmask(command, what, "--out", tmp_path / "file" / "out", *quiet)
    assert status == 2
    assert "file/out" in one_line(err)
    assert one_line(err).endswith(": cannot be written (a file is where its folder should be); choose another folder")


def test_dicom_is_scanned_with_a_verdict_for_each_series(fewmask, dicoms, tmp_path: Path) -> None:
    volume = np.random.default_rng(0).integers(0, 900, (5, 8, 9)).astype(np.int16)
    affine = np.diag([3.0, 1.5, 1.25, 1])
    dicoms.series("a/ct", volume, affine, PatientID="MRN-7")
    (dicoms.series("b/ct", volume + 1, affine, PatientID="MRN-8") / "0002.dcm").unlink()
    status, out, _ = fewmask("scan", dicoms.root, "--out", tmp_path / "catalogue", "--quiet")
    assert status == 0 and "MRN" not in out
    assert "missing slice at" in out and "3 x 1.5 x 1.25" in out
    assert "MRN" not in (tmp_path / "catalogue" / "cases.csv").read_text()
    status, out, _ = fewmask("scan", dicoms.root, "--out", tmp_path / "kept", "--keep-ids", "--json", "--quiet")
    assert [row["verdict"] for row in json.loads(out)["series"]] == ["used", "skipped"]
    assert "MRN-7" in (tmp_path / "kept" / "cases.csv").read_text()


def test_a_repaired_copy(fewmask, one_line, phantoms: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(phantoms, data)
    broken(data, "truncated")
    words = ("scan", data, "--out", tmp_path / "catalogue", "--fix", tmp_path / "copy", "--json", "--quiet")
    status, out, _ = fewmask(*words)
    assert (status, json.loads(out)["cases"]) == (0, 5)
    assert (tmp_path / "copy" / "scan.html").is_file()
    status, _, err = fewmask(*words)
    assert status == 2 and "is there already" in one_line(err)


def test_convert(fewmask, one_line, phantoms: Path, tmp_path: Path) -> None:
    status, _, err = fewmask("convert", "holiday", phantoms, "--out", tmp_path / "x")
    assert status == 2 and "known: acdc, " in one_line(err)
    status, _, err = fewmask("convert", "acdc", phantoms, "--out", tmp_path / "x")
    assert status == 3 and "give the folder of the unpacked official download" in one_line(err)
    status, _, err = fewmask("convert", "nnunet", phantoms, "--out", tmp_path / "Dataset001_X")
    assert status == 3 and "no run in it" in one_line(err)
    assert not (tmp_path / "x").exists()


def test_a_run_for_nnunet(fewmask, finished, tmp_path: Path) -> None:
    run, out, masks = finished.run.root, tmp_path / "Dataset001_X", tmp_path / "masks"
    split = json.loads((run / "split.json").read_text())
    predict = ("predict", run, run / "catalogue", "--out", masks, "--trust", "none", "--quiet", "--device", "cpu")
    assert fewmask(*predict)[0] == 0
    status, _, err = fewmask("convert", "nnunet", run, "--masks", masks, "--out", out, "--quiet")
    assert status == 3 and "no uncertainty map of" in err
    assert fewmask(*predict, "--uncertainty")[0] == 0
    words = ("convert", "nnunet", run, "--masks", masks, "--doubt", 0.5, "--out", out, "--quiet")
    status, said, _ = fewmask(*words, "--json")
    told = json.loads(said)
    assert (status, told["labelled"]) == (0, len(split["labelled"]) + len(split["val"]))
    assert (told["pseudo"], told["rejected"]) == (len(split["unlabelled"]), 0)
    assert told["ignored"] > 0


def test_suggest_exemplar_names_an_image_and_why(fewmask, one_line, phantoms: Path, tmp_path: Path) -> None:
    status, out, _ = fewmask("suggest-exemplar", phantoms, "--quiet")
    lines = out.splitlines()
    assert status == 0 and len(lines) == 4
    assert lines[0].startswith("label patient00") and "of 6 images it is the most like all others" in lines[0]
    status, out, _ = fewmask("suggest-exemplar", phantoms, "--quiet", "--json")
    found = json.loads(out)
    assert lines[0].split()[1] == found[0]["case"] and len(found) == 6
    assert {"case", "patient", "slice", "distance", "mask"} == set(found[0])
    for words, message in (
        ((tmp_path / "absent",), "absent"),
        ((phantoms, "--split", tmp_path / "none.json"), "none.json: no such file"),
    ):
        status, out, err = fewmask("suggest-exemplar", *words, "--quiet")
        assert (status, out) == (3, "") and message in one_line(err)
