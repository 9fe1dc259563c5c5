import unicodedata

import h5py
import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from fewmask.errors import DataError
from fewmask.inputs import input_cases


def volume(path, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (4, 5, 6) if channels == 1 else (4, 5, 6, channels)
    nib.save(nib.Nifti1Image(np.random.default_rng(0).random(shape, np.float32), np.eye(4)), path)
    return path


def picture(path, mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(0).integers(0, 255, (9, 7) if mode == "L" else (9, 7, 3), np.uint8)
    Image.fromarray(values).save(path)
    return path


def ids(inputs, channels=("MR",)):
    return [case.id for case in input_cases(inputs, channels)]


def test_a_file(tmp_path):
    path = volume(tmp_path / "größe 1.nii.gz")
    (case,) = input_cases([path], ("MR",))
    assert (case.id, case.images, case.label) == ("größe 1", (path,), None)


def test_a_folder_of_volumes(tmp_path):
    for name in ("b", "a"):
        volume(tmp_path / f"{name}.nii.gz")
    assert ids([tmp_path]) == ["a", "b"]


def test_nested_folders_keep_their_path_in_the_id(tmp_path):
    for group in ("patient1/seq1", "patient1/seq2", "patient2/seq1"):
        picture(tmp_path / group / "0001.png", "RGB")
    expected = ["patient1_seq1_0001", "patient1_seq2_0001", "patient2_seq1_0001"]
    assert ids([tmp_path], ("red", "green", "blue")) == expected


def test_numbered_frames_are_no_channels(tmp_path):
    for number in range(3):
        picture(tmp_path / f"frame_{number:04d}.png")
    assert len(ids([tmp_path], ("grey",))) == 3


def test_one_channel_drops_its_number(tmp_path):
    for name in ("a", "b"):
        volume(tmp_path / f"{name}_0000.nii.gz")
    assert ids([tmp_path]) == ["a", "b"]


def test_channels_are_joined(tmp_path):
    for name in ("a", "b"):
        for channel in (1, 0):
            volume(tmp_path / f"{name}_{channel:04d}.nii.gz")
    cases = input_cases([tmp_path], ("T1", "T2"))
    assert [case.id for case in cases] == ["a", "b"]
    assert [path.name for path in cases[0].images] == ["a_0000.nii.gz", "a_0001.nii.gz"]
    (single,) = input_cases([tmp_path / "b_0000.nii.gz"], ("T1", "T2"))
    assert (single.id, len(single.images)) == ("b", 2)


def test_channels_of_a_name_that_macos_decomposed(tmp_path):
    name = unicodedata.normalize("NFD", "Zoë")
    for channel in (0, 1):
        volume(tmp_path / f"{name}_{channel:04d}.nii.gz")
    (case,) = input_cases([tmp_path / f"{name}_0000.nii.gz"], ("T1", "T2"))
    assert (case.id, len(case.images)) == ("Zoë", 2)


def test_a_missing_channel_is_named(tmp_path):
    volume(tmp_path / "a_0000.nii.gz")
    with pytest.raises(DataError, match=r"a: 1 channel files \(0000\), but the model takes 2 \(T1, T2\)"):
        ids([tmp_path], ("T1", "T2"))


def test_a_data_set_gives_images_and_no_masks(tmp_path):
    for number in range(3):
        volume(tmp_path / "images" / f"p{number}.nii.gz")
    (tmp_path / "masks").mkdir()
    for number in range(2):
        (tmp_path / "masks" / f"p{number}.nii.gz").write_text("poison")
    cases = input_cases([tmp_path], ("MR",))
    assert [case.id for case in cases] == ["p0", "p1", "p2"]
    assert not any(case.label for case in cases)


def test_a_catalogue_gives_its_images(tmp_path):
    volume(tmp_path / "x" / "one.nii.gz")
    (tmp_path / "cases.csv").write_text("case,patient,images,label,site\nfirst,p,x/one.nii.gz,x/gone.nii.gz,\n")
    (case,) = input_cases([tmp_path], ("MR",))
    assert (case.id, case.label) == ("first", None)


def test_ua_mt_files_are_named_by_their_folder(tmp_path):
    for name in ("A1", "B2"):
        (tmp_path / name).mkdir()
        with h5py.File(tmp_path / name / "mri_norm2.h5", "w") as file:
            file["image"] = np.zeros((4, 5, 6), np.float32)
    assert ids([tmp_path]) == ids([tmp_path / "A1", tmp_path / "B2" / "mri_norm2.h5"]) == ["A1", "B2"]


def test_several_inputs_are_joined_and_clashes_named(tmp_path):
    first, second = volume(tmp_path / "a" / "x.nii.gz"), volume(tmp_path / "b" / "x.nii.gz")
    assert ids([first, first]) == ["x"]
    with pytest.raises(DataError, match="would both be case 'x'"):
        ids([first, second])


def test_a_path_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        ids([tmp_path / "nothing"])


def test_dicom_series_that_are_called_alike_are_told_apart(dicoms):
    volume = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    folders = [dicoms.series(f"{name}/mr", volume, np.diag([3.0, 1, 1, 1])) for name in ("anna", "bert")]
    assert [case.id for case in input_cases(folders, ("MR",))] == ["anna_mr", "bert_mr"]
    assert [case.id for case in input_cases([folders[0], folders[0]], ("MR",))] == ["mr"]
    assert [case.id for case in input_cases([dicoms.root], ("MR",))] == ["anna", "bert"]
    gap = dicoms.series("carl/mr", np.arange(100, dtype=np.int16).reshape(5, 4, 5), np.diag([3.0, 1, 1, 1]))
    (gap / "0002.dcm").unlink()
    with pytest.raises(DataError, match=r"mr: no series that can be read \(missing slice at"):
        input_cases([gap], ("MR",))
