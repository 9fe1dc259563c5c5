"""A table of cases as a layout."""

from fewmask.data.layouts import find_cases


def test_a_table_wins_over_everything_else(files) -> None:
    files.image("imagesTr/a_0000.nii.gz")
    files.mask("labelsTr/a.nii.gz")
    files.text("cases.csv", "case,images\nmine,imagesTr/a_0000.nii.gz\n")
    name, _, found = find_cases(files.root)
    assert (name, [case.id for case in found.cases], found.names) == ("table", ["mine"], None)
