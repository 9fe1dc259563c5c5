"""One DICOM file: known by its content, patients as codes, frames in their order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fewmask.data.dicom.instance import is_dicom, patient_codes, pictures, read_instance
from fewmask.errors import DataError

PIXELS = np.arange(20, dtype=np.uint16).reshape(4, 5)


def test_known_by_its_magic_word(dicoms, tmp_path) -> None:
    assert is_dicom(dicoms.save(dicoms.picture(PIXELS), dicoms.root / "no ending"))
    (tmp_path / "x.dcm").write_bytes(b"DICM")
    assert not is_dicom(tmp_path / "x.dcm")
    assert not is_dicom(tmp_path / "absent")


def test_files_of_the_nineties_have_no_preamble(dicoms) -> None:
    path = dicoms.save(dicoms.picture(PIXELS), dicoms.root / "a.dcm", "1.2.840.10008.1.2")
    content = path.read_bytes()
    start = content.index(b"\x08\x00\x16\x00")  # SOPClassUID, after the meta information
    path.write_bytes(content[start:])
    instance = read_instance(path)
    assert (instance.rows, instance.columns) == PIXELS.shape


def test_codes_tell_patients_apart_and_do_not_name_them(dicoms) -> None:
    path = dicoms.save(dicoms.picture(PIXELS), dicoms.root / "a.dcm")
    one = read_instance(path)
    later = replace(one, study=one.study + ".9")
    other = replace(one, patient="0815-4712")
    codes = patient_codes([one, later, other])
    assert len(set(codes.values())) == 2
    assert codes == patient_codes([later, other, one])
    assert "0815" not in "".join(codes.values())
    assert patient_codes([replace(one, study="1.2.3")])[one.patient] != codes[one.patient]  # the salt


def test_frames_are_rescaled(dicoms) -> None:
    data = dicoms.picture(np.stack([PIXELS, PIXELS + 7]), RescaleSlope="0.5", RescaleIntercept="-1")
    found = list(pictures(read_instance(dicoms.save(data, dicoms.root / "film.dcm"))))
    np.testing.assert_array_equal(found, [PIXELS * 0.5 - 1, (PIXELS + 7) * 0.5 - 1])
    assert found[0].dtype == np.float32


def test_a_palette_is_looked_up(dicoms) -> None:
    data = dicoms.picture(np.array([[0, 1], [2, 1]], np.uint8), PhotometricInterpretation="PALETTE COLOR")
    for shift, colour in enumerate(("Red", "Green", "Blue")):
        setattr(data, f"{colour}PaletteColorLookupTableDescriptor", [3, 0, 8])
        setattr(data, f"{colour}PaletteColorLookupTableData", bytes([10 + shift, 20 + shift, 30 + shift, 0]))
    (found,) = pictures(read_instance(dicoms.save(data, dicoms.root / "p.dcm")))
    np.testing.assert_array_equal(found[..., 2], [[12, 22], [32, 22]])


def test_a_file_that_is_cut_short(dicoms) -> None:
    path = dicoms.save(dicoms.picture(PIXELS), dicoms.root / "a.dcm")
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(DataError, match=r"32 bytes where the header promises 40|cut short"):
        read_instance(path)
