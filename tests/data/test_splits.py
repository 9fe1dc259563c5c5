"""Roles by whole patients."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewmask.data.casetable import Catalogue
from fewmask.data.scan import scan
from fewmask.data.split_file import read_split, write_split
from fewmask.data.splits import check_split, choose_split
from fewmask.errors import DataError, SettingsError
from fewmask.types import Case, LabelSet, Split


def make_split(*arguments, **options) -> Split:
    """The split without its reasons."""
    return choose_split(*arguments, **options)[0]


def catalogue_of(
    masked: int, frames: int = 2, unmasked: int = 0, lists: Mapping[str, Sequence[str]] | None = None
) -> Catalogue:
    """Patients p0, p1, ... of which the first `masked` have masks, with `frames` cases p0_0, p0_1, ... each."""
    cases = tuple(
        Case(
            id=f"p{patient}_{frame}",
            patient=f"p{patient}",
            images=(Path(f"p{patient}_{frame}.png"),),
            label=Path(f"m/p{patient}_{frame}.png") if patient < masked else None,
        )
        for patient in range(masked + unmasked)
        for frame in range(frames)
    )
    return Catalogue(
        name="set",
        channels=("image",),
        labels=LabelSet(names=("background", "organ"), values=(0, 1)),
        planar=True,
        layout="image_pairs",
        cases=cases,
        lists={role: tuple(ids) for role, ids in (lists or {}).items()},
    )


def frames(*patients: int, count: int = 2) -> tuple[str, ...]:
    return tuple(f"p{patient}_{frame}" for patient in patients for frame in range(count))


def published(masked: int, held_out: int) -> Catalogue:
    """train.list in falling order, and a val.list of the last patients."""
    train = frames(*reversed(range(masked - held_out)))
    return catalogue_of(masked, lists={"train": train, "val": frames(*range(masked - held_out, masked))})


def patients(entries: Sequence[str]) -> set[str]:
    return {entry.split("_")[0] for entry in entries}


def test_a_layouts_order_and_its_only_held_out_list() -> None:
    split = make_split(published(10, 2), "2", val="3")
    assert split.labelled == frames(7, 6)
    assert split.val == frames(2, 1, 0)
    assert split.test == frames(8, 9)
    assert split.unlabelled == frames(3, 4, 5)


def test_val_and_test_lists_keep_their_roles() -> None:
    lists = {"train": frames(3, 1, 2), "val": frames(4), "test": frames(5, 6)}
    split = make_split(catalogue_of(8, lists=lists), "1")
    assert (split.labelled, split.val, split.test) == (frames(3), frames(4), frames(5, 6))
    assert split.unlabelled == frames(0, 1, 2, 7)


def test_an_asked_for_test_leaves_the_val_list_to_val() -> None:
    split = make_split(published(10, 2), "2", test="1")
    assert (split.val, split.test) == (frames(8, 9), frames(0))


def test_lists_of_a_split_json_beside_the_data() -> None:
    lists = {"labelled": ("p0_0", "p1_1:3"), "val": frames(2)}
    catalogue = catalogue_of(5, lists=lists)
    split = make_split(catalogue, None)
    assert (split.labelled, split.val, split.test) == (("p0_0", "p1_1:3"), frames(2), ())
    assert split.unlabelled == ("p0_1", "p1_0", *frames(3, 4))
    more = make_split(catalogue, "3")
    assert more.labelled[:4] == frames(0, 1)
    assert len(patients(more.labelled)) == 3


@given(st.integers(3, 25), st.integers(0, 9), st.integers(1, 3), st.integers(0, 5))
def test_roles_are_disjoint_by_patient_and_nested_over_budgets(masked, unmasked, frame_count, seed) -> None:
    catalogue = catalogue_of(masked, frame_count, unmasked)
    splits = [make_split(catalogue, str(count), "1", "1", seed) for count in range(1, masked - 1)]
    for count, split in enumerate(splits, start=1):
        assert len(patients(split.labelled)) == count
        roles = [patients(ids) for ids in (split.labelled, split.unlabelled, split.val, split.test)]
        assert sum(map(len, roles)) == len(set.union(*roles)) == masked + unmasked
        assert (split.val, split.test) == (splits[0].val, splits[0].test)
        assert split.labelled[: len(splits[count - 2].labelled)] == splits[count - 2].labelled or count == 1


def test_another_seed_is_another_order() -> None:
    catalogue = catalogue_of(20, 1)
    assert len({make_split(catalogue, "3", seed=seed).labelled for seed in range(5)}) == 5
    assert make_split(catalogue, "3", seed=4) == make_split(catalogue, "3", seed=4)


@pytest.mark.parametrize(("labelled", "val"), [(1, 0), (2, 0), (3, 1), (9, 1), (10, 2), (12, 2), (13, 3), (20, 4)])
def test_default_val_grows_with_the_labelled(labelled: int, val: int) -> None:
    split, why = choose_split(catalogue_of(30), str(labelled))
    assert (len(patients(split.labelled)), len(patients(split.val))) == (labelled, val)
    assert "not labelled" in why[2] or val == 0


def test_default_val_out_of_the_labelled_is_said() -> None:
    split, why = choose_split(catalogue_of(5, unmasked=4), None)
    assert (len(patients(split.labelled)), len(patients(split.val))) == (4, 1)
    assert why[0] == "labelled: 4 patients, 8 cases, every case with a mask"
    assert why[2].startswith("val: 1 patient, 2 cases, taken out")
    assert len(split.unlabelled) == 8
    assert "taken out of the labelled ones; --val 0 leaves them there" in why[2]
    assert len(patients(make_split(catalogue_of(5, unmasked=4), None, val="0").labelled)) == 5


def test_few_masks_are_all_labelled() -> None:
    for masked in (1, 2):
        split = make_split(catalogue_of(masked, unmasked=3), None)
        assert len(patients(split.labelled)) == masked
        assert split.val == ()


def test_unmasked_cases_of_a_labelled_patient_are_unlabelled() -> None:
    whole = catalogue_of(1, 3, unmasked=1)
    cases = tuple(case if case.id != "p0_1" else Case(**{**vars(case), "label": None}) for case in whole.cases)
    split = make_split(Catalogue(**{**_fields(whole), "cases": cases}), "1")
    assert split.labelled == ("p0_0", "p0_2")
    assert split.unlabelled == ("p0_1", *frames(1, count=3))


def test_unmasked_cases_of_a_val_patient_are_not_trained_on() -> None:
    whole = catalogue_of(3, 2)
    cases = tuple(case if case.id != "p2_1" else Case(**{**vars(case), "label": None}) for case in whole.cases)
    lists = {"val": ("p2_0", "p2_1"), "test": ()}
    catalogue = Catalogue(**{**_fields(whole), "cases": cases, "lists": {**lists, "labelled": ("p0_0",)}})
    split = make_split(catalogue, None)
    assert split.val == ("p2_0",)
    assert split.unlabelled == ("p0_1", *frames(1))


def _fields(catalogue: Catalogue) -> dict[str, object]:
    return {name: getattr(catalogue, name) for name in catalogue.__dataclass_fields__}


def test_percentages_are_of_what_no_list_holds_out() -> None:
    assert len(patients(make_split(published(12, 2), "30%", val="3").labelled)) == 3
    assert len(patients(make_split(catalogue_of(10), "1%").labelled)) == 1
    assert len(patients(make_split(catalogue_of(10), "100%", val="0").labelled)) == 10
    assert len(patients(make_split(catalogue_of(20), "3", val="10%", test="25%").test)) == 5


def test_names_in_files(tmp_path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("# drawn by me\np3_1:4\npatient = p1\np3_1:7\np3_1:4\n\n")
    split = make_split(catalogue_of(6), str(path))
    assert split.labelled == ("p3_1:4", "p1_0", "p1_1", "p3_1:7")
    assert split.labelled_slices == {"p3_1": (4, 7), "p1_0": None, "p1_1": None}
    assert "p3_1" not in split.unlabelled and "p3_0" in split.unlabelled
    (tmp_path / "val.txt").write_text("p5\n")
    assert make_split(catalogue_of(6), str(path), val=str(tmp_path / "val.txt")).val == frames(5)


def test_a_split_json_in_place_of_a_list(tmp_path) -> None:
    path = tmp_path / "theirs.json"
    path.write_text(json.dumps({"labelled": ["p0_0"], "val": ["p1_0"], "test": ["p2_0", "p2_1"]}))
    split = make_split(catalogue_of(4), str(path))
    assert (split.labelled, split.val, split.test) == (("p0_0",), ("p1_0",), frames(2))
    assert split.unlabelled == ("p0_1", *frames(3))


def test_a_slice_of_one_case_by_name() -> None:
    split = make_split(catalogue_of(4), "p2_1:0")
    assert (split.labelled, split.val) == (("p2_1:0",), ())


def test_labelled_slices_are_never_made_val(tmp_path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("p0_0:1\np1_0:1\np2_0:1\n")
    split = make_split(catalogue_of(3), str(path))
    assert (len(split.labelled), split.val) == (3, ())


@pytest.mark.parametrize("text", ["0", "-1", "0%", "150%", "-5%", "2.5", "three", "p9"])
def test_amounts_that_cannot_be_meant(text: str) -> None:
    with pytest.raises(SettingsError, match=rf"--labelled {text}: "):
        make_split(catalogue_of(4), text)


@pytest.mark.parametrize("text", ["none.txt", "no/such", "split.json"])
def test_a_list_that_is_not_there(text: str) -> None:
    with pytest.raises(DataError, match=rf"--labelled {text}: no such file; check the path"):
        make_split(catalogue_of(4), text)


def test_more_than_there_are() -> None:
    with pytest.raises(
        DataError, match="--labelled 10000: only 8 patients with masks to choose from in set; ask for at"
    ):
        make_split(published(10, 2), "10000")
    with pytest.raises(DataError, match="--labelled 6: only 5 patients"):
        make_split(published(10, 2), "6", val="3")
    with pytest.raises(DataError, match="--val 9: only 8 patients"):
        make_split(published(10, 2), "1", val="9")
    with pytest.raises(DataError, match=r"--val 3: .* and one is needed to learn from; ask for at most 2, or draw"):
        make_split(catalogue_of(3, unmasked=2), None, val="3")
    with pytest.raises(DataError, match=r"--test 2: .* ask for at most 1, or draw"):
        make_split(catalogue_of(4), None, val="2", test="2")


def test_no_mask_at_all() -> None:
    with pytest.raises(DataError, match="set: no image has a mask; draw at least one"):
        make_split(catalogue_of(0, unmasked=3), "1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("p1_7", "'p1_7' is no case and no patient of set; did you mean 'p1_"),
        ("p8", "split: labelled case 'p8_0' has no mask"),
        ("p7_0", "patient 'p7' is both labelled and test"),
        ("", "names no case"),
    ],
)
def test_files_that_name_the_wrong_cases(tmp_path, text: str, message: str) -> None:
    catalogue = catalogue_of(8, unmasked=2, lists={"train": frames(*range(7)), "val": frames(7)})
    path = tmp_path / "mine.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        make_split(catalogue, str(path))


def test_a_slice_is_no_val_case(tmp_path) -> None:
    path = tmp_path / "val.txt"
    path.write_text("p1_0:3")
    with pytest.raises(DataError, match="is one slice; val takes whole cases"):
        make_split(catalogue_of(4), "1", val=str(path))


def test_written_and_read(tmp_path) -> None:
    split = make_split(catalogue_of(9), "3", "1", "1", seed=5)
    write_split(split, tmp_path / "split.json")
    assert read_split(tmp_path / "split.json") == split
    assert list(json.loads((tmp_path / "split.json").read_text())) == [
        "labelled",
        "unlabelled",
        "val",
        "test",
        "seed",
        "hash",
    ]


def test_a_change_is_noticed_unless_the_hash_is_gone(tmp_path) -> None:
    path = tmp_path / "split.json"
    write_split(Split(labelled=("a",), test=("b",)), path)
    path.write_text(path.read_text().replace('"a"', '"c"'))
    with pytest.raises(DataError, match="changed since it was written; if that was meant, remove its line 'hash'"):
        read_split(path)
    content = json.loads(path.read_text())
    del content["hash"]
    path.write_text(json.dumps(content))
    assert read_split(path).labelled == ("c",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "expected an object"),
        ('{"labeled": []}', "unknown key 'labeled'; did you mean 'labelled'"),
        ('{"labelled": "a"}', "'labelled' must be a list of cases"),
        ('{"labelled": ["a", "a"]}', "'labelled' names a case twice"),
        ('{"labelled": ["a"], "seed": "x"}', "seed 'x' is no whole number"),
    ],
)
def test_broken_split_json(tmp_path, text: str, message: str) -> None:
    path = tmp_path / "split.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_split(path)
    with pytest.raises(DataError, match="no such file; make one with: fewmask split"):
        read_split(tmp_path / "gone.json")


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (Split(labelled=("p0_0", "x")), "labelled case 'x' is not in set"),
        (Split(labelled=("p4_0",)), "labelled case 'p4_0' has no mask"),
        (Split(labelled=("p0_0",), val=("p4_0",)), "val case 'p4_0' has no mask"),
        (Split(labelled=()), "no case is labelled"),
        (Split(labelled=("p0_0",), val=("p0_1",)), "patient 'p0' is both labelled and val"),
        (Split(labelled=("p0_0",), unlabelled=("p1_0",), test=("p1_1",)), "patient 'p1' is both unlabelled and test"),
        (Split(labelled=("p0_0",), unlabelled=("p0_0",)), "case 'p0_0' is both labelled and unlabelled"),
    ],
)
def test_splits_that_do_not_fit(split: Split, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_split(split, catalogue_of(4, unmasked=1))


def test_the_rest_is_unlabelled_where_nothing_is_said() -> None:
    catalogue = catalogue_of(3, unmasked=1)
    split = check_split(Split(labelled=("p0_0",), test=("p1_0",)), catalogue)
    assert split.unlabelled == ("p0_1", *frames(2, 3))
    told = Split(labelled=("p0_0",), unlabelled=("p2_0",))
    assert check_split(told, catalogue) == told


@pytest.mark.real_data
@pytest.mark.slow
def test_the_published_split_of_acdc(real_data) -> None:
    catalogue = scan(real_data / "acdc")
    split = make_split(catalogue, "7", "10")
    named = [f"patient{number:03}" for number in (99, 38, 50, 100, 58, 21, 49)]
    assert split.labelled == tuple(f"{patient}_frame0{frame}" for patient in named for frame in (1, 2))
    assert split.test == catalogue.lists["val"]
    assert split.val == catalogue.lists["train"][-20:]
    assert len(split.unlabelled) == 160 - 14 - 20 - 20
    assert make_split(catalogue, "10%", "10").labelled == split.labelled


@pytest.mark.parametrize("held", ["val", "test"])
def test_lists_that_share_a_patient_are_refused_by_its_name(held) -> None:
    catalogue = catalogue_of(4, lists={"train": ("p0_0", "p1_0"), held: ("p1_1", "p2_0")})
    with pytest.raises(DataError, match=f"'p1' is both in train and in {held} of the data set; .* rename one"):
        choose_split(catalogue, "1")
    choose_split(catalogue, "p0_0", val="p2", test="0")  # the lists are not asked
