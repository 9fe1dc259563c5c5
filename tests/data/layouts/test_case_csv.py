"""cases.csv as a table."""

import io

from fewmask.data.layouts.case_csv import read_cases, write_cases


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
