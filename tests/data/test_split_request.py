"""What is asked of a role."""

from __future__ import annotations

from pathlib import Path

import pytest

from fewmask.data.casetable import Catalogue
from fewmask.data.split_request import Exemplar, Request, case_of, read_request
from fewmask.errors import DataError, SettingsError
from fewmask.types import Case, LabelSet


@pytest.fixture
def catalogue() -> Catalogue:
    names = {"a": "p", "b": "p", "c": "q", "7": "r", "x:1": "s"}
    return Catalogue(
        name="set",
        channels=("image",),
        labels=LabelSet(names=("background", "organ"), values=(0, 1)),
        planar=False,
        layout="table",
        cases=tuple(
            Case(id=id_, patient=patient, images=(Path(id_),), label=None if id_ == "b" else Path("m"))
            for id_, patient in names.items()
        ),
    )


def test_numbers_and_shares(catalogue) -> None:
    assert read_request(None, "val", catalogue) is None
    assert read_request(" 3 ", "labelled", catalogue) == Request("3", count=3)
    assert read_request("7", "labelled", catalogue) == Request("7", count=7)
    assert read_request("0", "val", catalogue) == Request("0", count=0)
    assert read_request("12.5 %", "labelled", catalogue) == Request("12.5 %", share=0.125)
    assert read_request("0%", "test", catalogue) == Request("0%", share=0)


def test_names(catalogue) -> None:
    assert read_request("a", "labelled", catalogue) == Request("a", names=("a",))
    assert read_request("a:03", "labelled", catalogue) == Request("a:03", names=("a:3",))
    assert read_request("p", "labelled", catalogue) == Request("p", names=("a",))
    assert read_request("patient=q", "val", catalogue) == Request("patient=q", names=("c",))


def test_an_exemplar_is_neither_a_number_nor_a_file(catalogue, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a").write_text("c")
    assert read_request(Exemplar("7"), "labelled", catalogue).names == ("7",)
    assert read_request(Exemplar("a:1"), "labelled", catalogue).names == ("a:1",)
    assert read_request(Exemplar("a"), "labelled", catalogue).names == ("a",)
    with pytest.raises(DataError, match=r"^--exemplar: 'd' is no case and no patient of set"):
        read_request(Exemplar("d"), "labelled", catalogue)


def test_a_colon_in_a_case_is_no_slice(catalogue) -> None:
    assert case_of("x:1", catalogue) == "x:1"
    assert case_of("x:1:4", catalogue) == "x:1"
    assert case_of("a:4", catalogue) == "a"


def test_files(catalogue, tmp_path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("c\np\nc\n7:0\n")
    assert read_request(str(path), "labelled", catalogue).names == ("c", "a", "7:0")
    path = tmp_path / "split.json"
    path.write_text('{"labelled": ["a"], "val": []}')
    assert read_request(str(path), "labelled", catalogue).names == ("a",)
    assert read_request(str(path), "val", catalogue) is None
    path.write_text('["a"]')
    with pytest.raises(DataError, match="expected an object with the list 'labelled'"):
        read_request(str(path), "labelled", catalogue)
    path.write_text("{")
    with pytest.raises(DataError, match="not valid JSON"):
        read_request(str(path), "labelled", catalogue)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0", "at least 1"),
        ("-2", "at least 1"),
        ("1.5", "a number of patients is whole; for a share write 1.5%"),
        ("101%", "a percentage lies between 0 and 100"),
        ("d", "neither a number, a percentage, a file, a case nor a patient"),
        ("", "neither a number"),
    ],
)
def test_what_cannot_be_meant(catalogue, text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=f"--labelled {text}: {message}"):
        read_request(text, "labelled", catalogue)
