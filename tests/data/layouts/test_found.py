"""Naming rules that layouts share."""

import unicodedata

import pytest

from fewmask.data.layouts.found import identifier, in_order, natural, patient_of, some
from fewmask.errors import DataError
from fewmask.types import Case


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("patient001_frame01", "patient001"),
        ("patient001", "patient001"),
        ("Case 12_b", "Case 12"),
        ("sub-01_ses-2_T1w", "sub-01"),
        ("sub-01", "sub-01"),
        ("A7_frame03", "A7"),
        ("A7_frame03_slice_2", "A7"),
        ("hippocampus_190", "hippocampus_190"),
        ("slice_3", "slice_3"),
        ("patients", "patients"),
        ("case_0001", "case_0001"),
    ],
)
def test_patient_that_a_name_tells(name: str, patient: str) -> None:
    assert patient_of(name) == patient


def test_identifiers_hold_neither_separators_nor_colons() -> None:
    assert identifier("a/b:3\\c d") == "a_b_3_c d"


def test_natural_order() -> None:
    assert sorted(["s10", "s2", "10", "2b", "a", "s2a", "²"], key=natural) == ["2b", "10", "a", "s2", "s2a", "s10", "²"]


def test_cases_in_order(tmp_path) -> None:
    cases = [Case(id=name, patient=name, images=(tmp_path / name,)) for name in ("b10", "b9", "a")]
    assert [case.id for case in in_order(cases)] == ["a", "b9", "b10"]
    with pytest.raises(DataError, match="would both be case 'a'"):
        in_order([*cases, cases[-1]])


def test_some_names() -> None:
    assert some("abc") == "a, b, c"
    assert some("abcde") == "a, b, c and 2 more"


def test_identifiers_are_composed() -> None:
    assert identifier(unicodedata.normalize("NFD", "Müller")) == "Müller"
