"""patients.csv, split.json and dataset.yaml beside the data."""

from __future__ import annotations

import unicodedata

import pytest

from fewmask.data.layouts import find_cases
from fewmask.data.layouts.companions import with_companions
from fewmask.data.layouts.found import Found
from fewmask.errors import DataError


def read(files) -> Found:
    _, start, found = find_cases(files.root)
    return with_companions(found, start)


def pairs(files, *names: str) -> None:
    for name in names:
        files.image(f"images/{name}.png")
        files.mask(f"masks/{name}.png")


def test_patients_csv(files) -> None:
    pairs(files, "a", "b", "c")
    files.text("patients.csv", "image,patient\na.png,1\nb,1\nz,2\n")
    found = read(files)
    assert [case.patient for case in found.cases] == ["1", "1", "c"]
    assert found.findings == (
        "patients.csv: 1 names are no image here: z",
        "patients.csv: 1 images are not in it and keep the inferred patient: c",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,age\na,3\n", "expected columns image, patient; found name, age"),
        ("image,patient\na,\n", "no patient for 'a'"),
        ("image,patient\na,1\na.png,2\n", "has patients 1 and 2"),
        ("image,patient,image\na,1,b\n", "two columns are called 'image'"),
        ("image,patient\n" + "x" * 200_000 + ",1\n", "no CSV table"),
        ("image,patient\nx,1\n", r"no name is an image here \(first: x\)"),
    ],
)
def test_wrong_patients_csv(files, text: str, message: str) -> None:
    pairs(files, "a", "b")
    files.text("patients.csv", text)
    with pytest.raises(DataError, match=message):
        read(files)


def test_names_that_macos_decomposed(files) -> None:
    pairs(files, "Zoë", "b")
    name = unicodedata.normalize("NFD", "Zoë")
    files.text("patients.csv", f"image,patient\n{name}.png,1\nb,2\n")
    files.text("split.json", f'{{"labelled": ["{name}"]}}')
    found = read(files)
    assert {case.id: case.patient for case in found.cases} == {"Zoë": "1", "b": "2"}
    assert found.lists["labelled"] == ("Zoë",)


def test_split_json_gives_lists(files) -> None:
    pairs(files, "p/a", "p/b", "q/c")
    files.text("split.json", '{"labelled": ["a:0"], "val": ["c"], "seed": 3}')
    assert dict(read(files).lists) == {"labelled": ("p_a:0",), "val": ("q_c",)}
    files.text("split.json", '{"labelled": ["d"]}')
    with pytest.raises(DataError, match=r"split.json: 'd' is no case here"):
        read(files)
    files.text("split.json", "{")
    with pytest.raises(DataError, match=r"split.json: not valid JSON"):
        read(files)


def test_the_split_of_a_run_is_no_users_list(files) -> None:
    pairs(files, "a", "b")
    files.text("split.json", '{"labelled": ["a"], "test": ["b"]}')
    files.text("request.json", "{}")
    found = read(files)
    assert not found.lists
    assert found.findings[-1] == "split.json belongs to a run of fewmask and is left out"


def test_dataset_yaml(files) -> None:
    pairs(files, "a", "b")
    files.text("dataset.yaml", "name: Mine\nlabels: {background: 0, nerve: 9, ignore: 255}\nlists: {test: [b]}\n")
    found = read(files)
    assert (found.name, found.names, found.ignore) == ("Mine", {"background": 0, "nerve": 9}, 255)
    assert dict(found.lists) == {"test": ("b",)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("labelz: {a: 0}", "unknown key 'labelz'; did you mean 'labels'?"),
        ("labels: 3", "'labels' must map names to values"),
        ("labels: {a: x}", "labels a: 'x' is no whole number"),
        ("ignore: void", "ignore: 'void' is no whole number"),
        ("lists: {tests: [a]}", "unknown role 'tests'; did you mean 'test'?"),
        ("layout: [1, 2]", r"layout: \[1, 2\] is no name; write one, or leave it out"),
        ("a: [", "not valid YAML"),
        ("just text", "expected keys name"),
    ],
)
def test_wrong_dataset_yaml(files, text: str, message: str) -> None:
    pairs(files, "a")
    files.text("dataset.yaml", text)
    with pytest.raises(DataError, match=message):
        read(files)


@pytest.mark.parametrize("text", ["labels: [background, nerve]", "labels: {0: background, 1: nerve}"])
def test_other_spellings_of_labels(files, text: str) -> None:
    pairs(files, "a")
    files.text("dataset.yaml", text)
    assert read(files).names == {"background": 0, "nerve": 1}


def test_colours_and_merged_values_by_name_and_by_number(files) -> None:
    pairs(files, "a")
    files.text(
        "dataset.yaml",
        "labels: {background: 0, one: 1, two: 2}\nignore: 9\nmerge: {5: 0, 7: 9}\n"
        "colours: {background: [0, 0, 0], one: [255, 0, 0], 2: [0, 255, 0], two: [0, 200, 0]}\n",
    )
    found = read(files)
    assert dict(found.merged) == {5: 0, 7: 9}
    assert dict(found.colours) == {(0, 0, 0): 0, (255, 0, 0): 1, (0, 255, 0): 2, (0, 200, 0): 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("labels: {background: 0, one: 1}\nmerge: {1: 0}\n", "merge 1: 0: the first may be no class"),
        ("labels: {background: 0, one: 1}\nmerge: {5: 3}\n", "merge 5: 3: .* the second must be one"),
        ("merge: [1]\n", "'merge' must map values to values"),
        ("merge: {a: 1}\n", "merge: 'a' is no whole number"),
        ("labels: {background: 0, one: 1}\ncolours: {ome: [1, 2, 3]}\n", "unknown class 'ome'; did you mean 'one'"),
        ("labels: {background: 0, one: 1}\ncolours: {on: [1, 2, 3]}\n", "unknown class 'True'"),  # YAML's on
        ("labels: {background: 0, one: 1}\ncolours: {one: [1, 2]}\n", "write red, green and blue"),
        ("labels: {background: 0, one: 1}\ncolours: {one: [1, 2, 300]}\n", "write red, green and blue"),
        ("labels: {background: 0, one: 1}\ncolours: {one: [1, 2, 3], 0: [1, 2, 3]}\n", "stands for two classes"),
        ("colours: [1]\n", "'colours' must map classes to colours"),
    ],
)
def test_colours_and_merged_values_that_cannot_be_meant(files, text, message) -> None:
    pairs(files, "a")
    files.text("dataset.yaml", text)
    with pytest.raises(DataError, match=message) as caught:
        read(files)
    assert "\n" not in str(caught.value)
