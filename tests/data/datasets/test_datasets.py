"""Official downloads: miniatures of their exact folder structures, their counts, and the lists that were published."""

from __future__ import annotations

import nibabel as nib
import nrrd
import numpy as np
import pytest

from fewmask.data.casetable import read_catalogue, write_catalogue
from fewmask.data.datasets import DATASETS, acdc, brats, convert, la2018, mosxav, pancreas_ct
from fewmask.data.formats import read_case_image, read_header, read_mask
from fewmask.errors import DataError, SettingsError

SHAPE = (3, 7, 5)


@pytest.fixture
def download(files):
    """The folder into which the miniatures are written; its files differ in a few voxels."""
    return files


def test_acdc(download, tmp_path) -> None:
    for number in (1, 2, 5, 101):
        home = f"database/{'training' if number <= 100 else 'testing'}/patient{number:03d}"
        download.text(f"{home}/Info.cfg", "ED: 1\nES: 12\nGroup: DCM\nHeight: 184.0\nNbFrame: 30\nWeight: 95.0\n")
        download.image(f"{home}/patient{number:03d}_4d.nii.gz", channels=2)
        for frame in (1, 12):
            download.image(f"{home}/patient{number:03d}_frame{frame:02d}.nii.gz")
            download.mask(f"{home}/patient{number:03d}_frame{frame:02d}_gt.nii.gz", (0, 1, 2, 3))
    catalogue = convert("acdc", download.root, quiet=True)
    assert [case.id for case in catalogue.cases] == [
        f"patient{n:03d}_frame{f}" for n in (1, 2, 5) for f in ("01", "12")
    ]
    assert catalogue.labels.names == ("background", "RV", "MYO", "LV")
    assert {role: len(ids) for role, ids in catalogue.lists.items()} == {"train": 2, "val": 2, "test": 2}
    assert catalogue.lists["test"][0].startswith("patient001")
    assert any("counts differ from the published ones: cases 6 of 200" in finding for finding in catalogue.findings)
    assert any("2 cases of the official test patients" in finding for finding in catalogue.findings)
    write_catalogue(catalogue, tmp_path / "out")
    assert read_catalogue(tmp_path / "out").lists == catalogue.lists
    (download.root / "database/training/patient001/patient001_frame12.nii.gz").unlink()
    with pytest.raises(DataError, match=r"Info.cfg: names frame 12, but patient001_frame12.nii.gz is not there"):
        convert("acdc", download.root, quiet=True)


def test_the_published_splits_are_whole() -> None:
    assert (len(set(acdc.VAL)), len(set(acdc.TEST)), set(acdc.VAL) & set(acdc.TEST)) == (10, 20, set())
    assert (len(set(brats.VAL)), len(set(brats.TEST)), set(brats.VAL) & set(brats.TEST)) == (25, 60, set())
    assert (len(set(la2018.TEST)), len(set(pancreas_ct.TEST))) == (20, 20)
    assert {len(name) for name in la2018.TEST} == {20}
    assert max(pancreas_ct.TEST) <= 82


def test_mscmrseg(download) -> None:
    for number in (1, 2, 10):
        download.image(f"C0LET2_nii45_for_challenge19/c0t2lge/patient{number}_LGE.nii.gz")
        download.image(f"C0LET2_nii45_for_challenge19/c0t2lge/patient{number}_C0.nii.gz")
    values = np.resize(np.array([0, 200, 500, 600], np.int16), SHAPE)
    download.write("C0LET2_gt_for_challenge19/LGE_manual_35/patient10_LGE_manual.nii.gz", values)
    download.write("C0LET2_nii45_for_challenge19/lgegt/patient1_LGE_manual.nii.gz", values)
    catalogue = convert("mscmrseg", download.root, quiet=True)
    assert [case.id for case in catalogue.cases] == ["patient1_LGE", "patient2_LGE", "patient10_LGE"]
    assert [case.label is not None for case in catalogue.cases] == [True, False, True]
    assert catalogue.labels.values == (0, 200, 500, 600)
    assert catalogue.lists == {}


def test_decathlon(download) -> None:
    for name in ("a", "b"):
        download.image(f"Task05_Prostate/imagesTr/{name}.nii.gz", channels=2)
        download.mask(f"Task05_Prostate/labelsTr/{name}.nii.gz", (0, 1, 2))
    download.text(
        "Task05_Prostate/dataset.json",
        '{"name": "PROSTATE", "modality": {"0": "T2", "1": "ADC"}, "numTraining": 2, "numTest": 0, '
        '"labels": {"0": "background", "1": "PZ", "2": "TZ"}, "test": [], '
        '"training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}, '
        '{"image": "./imagesTr/b.nii.gz", "label": "./labelsTr/b.nii.gz"}]}',
    )
    catalogue = convert("decathlon", download.root / "Task05_Prostate", quiet=True)
    assert (catalogue.channels, catalogue.labels.names) == (("T2", "ADC"), ("background", "PZ", "TZ"))
    assert catalogue.findings == ("counts as published: cases 2, masks 2",)
    with pytest.raises(DataError, match="give the folder TaskNN_Name"):
        convert("decathlon", download.root, quiet=True)


def test_la2018(download) -> None:
    for name in (la2018.TEST[0], "06SR5RBREL16DQ6M8LWS"):
        home = download.path(f"2018 LA Seg training set/Training Set/{name}/lgemri.nrrd").parent
        header = {"space": "left-posterior-superior", "space directions": np.diag([0.625, 0.625, 1.25])}
        header |= {"space origin": np.zeros(3), "encoding": "gzip"}
        values = np.random.default_rng(len(name) + ord(name[0])).integers(0, 256, SHAPE[::-1]).astype(np.uint8)
        nrrd.write(str(home / "lgemri.nrrd"), values, header)
        for mask in ("laendo", "lawall"):
            nrrd.write(str(home / f"{mask}.nrrd"), (values > 128).astype(np.uint8) * 255, header)
    catalogue = convert("la2018", download.root, quiet=True)
    assert catalogue.labels.values == (0, 255)
    assert catalogue.lists == {"train": ("06SR5RBREL16DQ6M8LWS",), "test": (la2018.TEST[0],)}
    assert {case.label.name for case in catalogue.cases} == {"laendo.nrrd"}
    np.testing.assert_allclose(read_header(catalogue.cases[0].images[0]).grid.spacing_mm, (1.25, 0.625, 0.625))


@pytest.mark.parametrize("year", ["2019", "2020"])
def test_brats(download, year) -> None:
    if year == "2019":
        homes = {"HGG/BraTS19_2013_11_1": "BraTS19_2013_11_1", "LGG/BraTS19_2013_0_1": "BraTS19_2013_0_1"}
    else:
        homes = {f"BraTS20_Training_{number}": f"BraTS20_Training_{number}" for number in ("001", "355")}
    for home, name in homes.items():
        for channel in brats.CHANNELS:
            download.image(f"MICCAI_BraTS_{year}_Training/{home}/{name}_{channel}.nii.gz")
        seg = "W39_1998.09.19_Segm" if name.endswith("355") else f"{name}_seg"
        download.mask(f"MICCAI_BraTS_{year}_Training/{home}/{seg}.nii.gz", (0, 1, 2, 4))
    catalogue = convert(f"brats{year}", download.root, quiet=True)
    assert catalogue.channels == ("flair", "t1", "t1ce", "t2")
    assert catalogue.labels.values == (0, 1, 2, 4)
    assert all(case.label is not None for case in catalogue.cases)
    assert read_case_image(catalogue.cases[0])[0].shape == (4, *SHAPE)
    if year == "2019":
        assert catalogue.lists == {"train": ("BraTS19_2013_0_1",), "test": ("BraTS19_2013_11_1",)}
        assert {case.site for case in catalogue.cases} == {"HGG", "LGG"}
    next(download.root.rglob("*_t1ce.nii.gz")).unlink()
    with pytest.raises(DataError, match="no t1ce sequence"):
        convert(f"brats{year}", download.root, quiet=True)


def test_pancreas_ct(dicoms) -> None:
    affine = np.array([[0, 0, -1.5, 100], [0, -1.5, 0, 90], [1, 0, 0, -40], [0, 0, 0, 1.0]])
    volume = np.random.default_rng(0).integers(-900, 900, (4, 9, 7)).astype(np.int16)
    for number in (1, 2):
        home = f"Pancreas-CT/PANCREAS_{number:04d}/11-24-2015-PANCREAS{number:04d}-Pancreas/Pancreas-63502"
        dicoms.series(home, volume + number, affine, PatientID=f"PANCREAS_{number:04d}")
    drawn = (volume > 300).astype(np.uint8)
    flipped = affine[:, [2, 1, 0, 3]]  # (x, y, z) of the scanner, stored with y the other way round
    flipped = flipped @ np.array([[1, 0, 0, 0], [0, -1, 0, 8], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    labels = dicoms.root / "TCIA_pancreas_labels-02-05-2017"
    labels.mkdir()
    for number in (1, 2):
        nib.save(nib.Nifti1Image(drawn.T[:, ::-1], flipped), labels / f"label{number:04d}.nii.gz")
    catalogue = convert("pancreas-ct", dicoms.root, quiet=True)
    assert [case.id for case in catalogue.cases] == ["PANCREAS_0001", "PANCREAS_0002"]
    assert catalogue.lists == {"train": ("PANCREAS_0002",), "test": ("PANCREAS_0001",)}
    case = catalogue.cases[0]
    np.testing.assert_array_equal(read_mask(case.label, case.images[0])[0], drawn)


@pytest.mark.parametrize("lists", [True, False])
def test_mosxav(download, lists) -> None:
    sequences = {"trainval": ("v00", "v01", "v02"), "test": ("v00",)}
    for half, names in sequences.items():
        for name in names:
            home = f"MOSXAV_Dataset/{half}"
            for frame in range(3):
                download.image(f"{home}/JPEGImages/{name}/{frame:05d}.jpg", 3)
            download.mask(f"{home}/Annotations_Semantic/{name}/00000.png", (0, 1, 2, 3, 4))
    if lists:  # other than the published ones: what lies there is followed
        download.text("MOSXAV_Dataset/trainval/ImageSets/train.txt", "v00\nv01\n")
        download.text("MOSXAV_Dataset/trainval/ImageSets/val.txt", "v02\n")
    catalogue = convert("mosxav", download.root, quiet=True)
    assert (catalogue.name, len(catalogue.cases), catalogue.labels.ignore) == ("MOSXAV", 12, 5)
    of = {role: sorted({catalogue.by_id[id_].patient for id_ in ids}) for role, ids in catalogue.lists.items()}
    val = "trainval_v02" if lists else "trainval_v01"
    assert of["val"] == [val] and of["test"] == ["test_v00"]
    assert of["train"] == sorted({f"trainval_{name}" for name in sequences["trainval"]} - {val})
    assert any("counts differ from the published ones: cases 12 of 1905" in finding for finding in catalogue.findings)
    assert len(set(mosxav.VAL)) == 12


def test_endoscapes(download) -> None:
    for role, video in {"train": 1, "val": 121, "test": 162}.items():
        download.image(f"endoscapes/{role}_seg/{video}_100.jpg", 3)
        download.image(f"endoscapes/{role}/{video}_100.jpg", 3)
        download.image(f"endoscapes/{role}/{video}_125.jpg", 3)
        values = np.resize(np.array([0, 1, 2, 3, 4, 5, 6, 255], np.uint8), (1, *SHAPE[1:]))
        download.write(f"endoscapes/semseg/{video}_100.png", np.repeat(values[..., None], 3, axis=-1))
    catalogue = convert("endoscapes", download.root, quiet=True)
    assert catalogue.name == "Endoscapes2023" and catalogue.labels.names[-1] == "tool"
    assert dict(catalogue.lists) == {"train": ("1_100",), "val": ("121_100",), "test": ("162_100",)}
    assert [case.id for case in catalogue.cases if case.label is None] == ["1_125"]
    assert any("patients 3 of 50, masks 3 of 493" in finding for finding in catalogue.findings)


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_another_folder_is_no_download(download, name) -> None:
    download.image("holiday/a.nii.gz")
    with pytest.raises(DataError, match=r"data set: "):
        convert(name, download.root, quiet=True)


def test_unknown_names(tmp_path) -> None:
    with pytest.raises(SettingsError, match=r"unknown data set 'acdcc'; did you mean 'acdc'\?$"):
        convert("acdcc", tmp_path)
    with pytest.raises(DataError, match="absent: no such folder"):
        convert("acdc", tmp_path / "absent")
