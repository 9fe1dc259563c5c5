"""The journal of a scan: what was good is not read again, what changed or was wrong is."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fewmask.data import checks
from fewmask.data.checks import check_all
from fewmask.data.layouts import find_cases
from fewmask.data.scan import scan
from fewmask.errors import DataError


@pytest.fixture
def counted(monkeypatch):
    """The ids of cases that are really read."""
    read = []
    real = checks.check_case

    def check_case(case, colours):
        read.append(case.id)
        return real(case, colours)

    monkeypatch.setattr(checks, "check_case", check_case)
    return read


def test_a_scan_goes_on_where_it_stopped(files, tmp_path, counted) -> None:
    for name in "abcd":
        files.image(f"images/{name}.nii.gz")
        files.mask(f"masks/{name}.nii.gz")
    broken = files.text("images/c.nii.gz", "nothing")
    journal = tmp_path / "catalogue" / ".scan.jsonl"
    with pytest.raises(DataError, match=r"c.nii.gz: not a NIfTI"):
        scan(files.root, quiet=True, journal=journal)
    assert sorted(counted) == list("abcd")
    counted.clear()
    broken.unlink()
    files.image("images/c.nii.gz")
    first = scan(files.root, quiet=True, journal=journal)
    assert counted == ["c"]
    counted.clear()
    files.mask("masks/b.nii.gz", (0, 1, 2))
    again = scan(files.root, quiet=True, journal=journal)
    assert counted == ["b"]
    assert (first.labels.values, again.labels.values) == ((0, 1), (0, 1, 2))
    assert again == scan(files.root, quiet=True)


def test_a_line_cut_short_by_a_kill_is_left_out(files, tmp_path, counted) -> None:
    for name in "ab":
        files.image(f"images/{name}.nii.gz")
    journal = tmp_path / "j.jsonl"
    scan(files.root, quiet=True, journal=journal)
    journal.write_text(journal.read_text()[:-20])
    counted.clear()
    scan(files.root, quiet=True, journal=journal)
    assert len(counted) == 1


@pytest.mark.parametrize("content", ["no journal\n", '{"case": "a"}\n', '["a"]\n', '{"case": "a", "version": "0"}\n'])
def test_a_journal_of_another_kind_is_not_believed(files, tmp_path, counted, content) -> None:
    files.image("images/a.nii.gz")
    (tmp_path / "j.jsonl").write_text(content)
    assert len(scan(files.root, quiet=True, journal=tmp_path / "j.jsonl").cases) == 1
    assert counted == ["a"]


def test_what_is_kept_of_a_case_is_small_and_images_are_held_by_threads_only(files, tmp_path, monkeypatch) -> None:
    for number in range(40):
        files.image(f"images/{number}.png", shape=(1, 9, 7))
    held, most = set(), []
    real = checks.check_case

    def check_case(case, colours):
        held.add(case.id)
        most.append(len(held))
        found = real(case, colours)
        held.discard(case.id)
        return found

    monkeypatch.setattr(checks, "check_case", check_case)
    cases = find_cases(files.root)[2].cases
    found, errors = check_all(cases, 2, True, tmp_path / "j.jsonl")
    assert (len(found), errors) == (40, {})
    assert max(most) <= 2
    lines = (tmp_path / "j.jsonl").read_text().splitlines()
    assert len(lines) == 40 and max(map(len, lines)) < 1000
    assert all(json.loads(line)["check"]["planar"] for line in lines)


def test_values_that_json_cannot_hold_are_read_again(files, tmp_path, counted) -> None:
    files.image("images/a.nii.gz")
    files.write("masks/a.nii.gz", np.full((3, 7, 5), np.nan, np.float32))
    for _ in range(2):
        with pytest.raises(DataError, match="not whole numbers"):
            scan(files.root, quiet=True, journal=tmp_path / "j.jsonl")
    assert counted == ["a", "a"]
