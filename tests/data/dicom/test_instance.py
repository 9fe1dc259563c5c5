"""One DICOM file: known by its content, patients as codes, what it may claim."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from fewmask.data.dicom.instance import is_dicom, patient_codes, read_instance
from fewmask.data.dicom.pixels import pictures
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
    np.testing.assert_array_equal(next(pictures(instance)), PIXELS)


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
    bare, twin = replace(one, study=""), replace(one, study="", series="1.2.3")
    assert patient_codes([bare]) != patient_codes([twin]), "without a study something else is the salt"


def test_a_file_that_is_cut_short(dicoms) -> None:
    path = dicoms.save(dicoms.picture(PIXELS), dicoms.root / "a.dcm")
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(DataError, match=r"32 bytes where the header promises 40|cut short"):
        read_instance(path)


def test_a_deflated_file_is_refused_before_it_is_inflated(dicoms) -> None:
    data = dicoms.picture(PIXELS)
    data.add_new(0x0040A160, "UT", " " * 2**25)
    path = dicoms.save(data, dicoms.root / "a.dcm", DeflatedExplicitVRLittleEndian)
    tracemalloc.start()
    with pytest.raises(DataError, match="a deflated DICOM file; inflate it first"):
        read_instance(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22
