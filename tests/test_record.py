import os

import pytest

from fewmask.errors import OutOfMemory, SettingsError
from fewmask.record import Record
from fewmask.runs import RECORD
from fewmask.types import Case


@pytest.fixture
def case(tmp_path):
    path = tmp_path / "in.nii.gz"
    path.write_text("image")
    return Case(id="c", patient="c", images=(path,))


FILES = {"mask": "c.nii.gz"}


def made(out, case, key):
    record = Record(out, key)
    record.begin(case, FILES)
    (out / FILES["mask"]).write_text("mask")
    record.finish(case, FILES)


def test_finished_work_is_known_again(tmp_path, case):
    made(tmp_path, case, {"model": "a"})
    record = Record(tmp_path, {"model": "a"})
    assert record.finished(case, FILES)
    assert not record.finished(case, {**FILES, "uncertainty": "uncertainty/c.nii.gz"})
    assert not Record(tmp_path, {"model": "b"}).finished(case, FILES)


def test_a_removed_mask_or_changed_image_is_redone(tmp_path, case):
    made(tmp_path, case, {"model": "a"})
    os.utime(case.images[0], ns=(1, 1))
    assert not Record(tmp_path, {"model": "a"}).finished(case, FILES)
    made(tmp_path, case, {"model": "a"})
    (tmp_path / FILES["mask"]).unlink()
    assert not Record(tmp_path, {"model": "a"}).finished(case, FILES)


def test_a_killed_case_is_begun_again(tmp_path, case):
    Record(tmp_path, {"model": "a"}).begin(case, FILES)
    (tmp_path / FILES["mask"]).write_text("mask")
    record = Record(tmp_path, {"model": "a"})
    assert not record.finished(case, FILES)
    record.begin(case, FILES)


def test_a_line_cut_short_does_no_harm(tmp_path, case):
    made(tmp_path, case, {"model": "a"})
    with open(tmp_path / RECORD, "a", encoding="utf-8") as file:
        file.write('{"case": "d", "do')
    record = Record(tmp_path, {"model": "a"})
    assert record.finished(case, FILES)
    record.begin(case, FILES)
    assert len(Record(tmp_path, {"model": "a"}).entries) == 1


def test_a_file_of_someone_else_is_not_replaced(tmp_path, case):
    (tmp_path / FILES["mask"]).write_text("drawn by hand")
    with pytest.raises(SettingsError, match="choose another --out"):
        Record(tmp_path, {"model": "a"}).begin(case, FILES)


def test_a_full_disk_is_said(tmp_path, case, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("builtins.open", full)
    with pytest.raises(OutOfMemory, match="the disk is full"):
        Record(tmp_path, {"model": "a"}).begin(case, FILES)
