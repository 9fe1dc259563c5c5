"""cases.csv as a table."""

import io

import pytest

from fewmask.data.layouts.case_csv import read_cases, read_table, write_cases
from fewmask.errors import DataError


def test_round_trip(files) -> None:
    files.image("scans/ä, 1.nii.gz")
    files.image("scans/2.nii.gz")
    text = 'case,patient,images,label,site\n"ä, 1",p,"scans/ä, 1.nii.gz;scans/2.nii.gz",masks/m.nii.gz,Ulm\n'
    path = files.text("cases.csv", text)
    cases = read_cases(path)
    assert [image.name for image in cases[0].images] == ["ä, 1.nii.gz", "2.nii.gz"]
    written = io.StringIO()
    write_cases(cases, written, files.root)
    assert written.getvalue() == text


def test_what_excel_writes(files) -> None:
    files.image("a.png")
    path = files.path("cases.csv")
    path.write_bytes("\ufeffimages , patient\r\na.png, 7 \r\n".encode())
    (case,) = read_cases(path)
    assert (case.id, case.patient, case.label) == ("a", "7", None)


def test_absolute_paths(files) -> None:
    image = files.image("a.png")
    (case,) = read_cases(files.text("elsewhere/cases.csv", f"images\n{image}\n"))
    assert case.images == (image,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("images,label,label\na.png,,\n", "two columns are called 'label'; remove or rename one"),
        ("images\n" + "x" * 200_000 + "\n", r"no CSV table \(field larger than field limit .*; save it as CSV UTF-8"),
    ],
)
def test_what_is_no_table(files, text: str, message: str) -> None:
    files.image("a.png")
    with pytest.raises(DataError, match=message):
        read_cases(files.text("cases.csv", text))


def test_rows_of_other_lengths(files) -> None:
    files.image("a.png")
    columns, rows = read_table(files.text("cases.csv", "images,site\na.png\nb.png,x,more\n"))
    assert (columns, rows) == (["images", "site"], [{"images": "a.png", "site": ""}, {"images": "b.png", "site": "x"}])
