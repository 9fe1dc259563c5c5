"""Label budgets by frame, and classes that a budget does not show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fewmask.data.budget import frames_in_turn, labelled_voxels, shown, spread
from fewmask.data.cache import Preparation
from fewmask.data.prepare import prepare
from fewmask.data.scan import scan
from fewmask.data.splits import choose_split
from fewmask.errors import DataError, SettingsError
from fewmask.types import Case, Split

SHAPE = (1, 7, 9)


def test_spread_starts_at_the_ends_and_halves() -> None:
    assert spread(5) == [0, 4, 2, 1, 3]
    assert spread(9)[:3] == [0, 8, 4]
    assert [spread(count) for count in (0, 1, 2)] == [[], [0], [0, 1]]
    assert sorted(spread(23)) == list(range(23))


def test_every_sequence_gives_its_first_frame_first() -> None:
    lengths = {"a": 4, "b": 2}
    sequences = [[Case(id=f"{s}{n}", patient=s, images=(Path("x"),)) for n in range(k)] for s, k in lengths.items()]
    assert [case.id for case in frames_in_turn(sequences)] == ["a0", "b0", "a3", "b1", "a1", "a2"]


def videos(files, sequences: int = 3, frames: int = 5, values=(0, 1)) -> None:
    for sequence in range(sequences):
        for frame in range(frames):
            files.image(f"img/v{sequence}/{frame}.png", shape=SHAPE)
            files.mask(f"annot/v{sequence}/{frame}.png", values, SHAPE)


def test_budgets_by_frame_are_nested_and_leave_the_rest_unlabelled(files) -> None:
    videos(files)
    catalogue = scan(files.root, quiet=True)
    few, many = (choose_split(catalogue, text, val="0")[0] for text in ("4 frames", "60% frames"))
    assert len(few.labelled) == 4 and len(many.labelled) == 9 and set(few.labelled) < set(many.labelled)
    assert {catalogue.by_id[case].patient for case in few.labelled} == {"v0", "v1", "v2"}
    assert len(few.unlabelled) == 11
    share, _ = choose_split(catalogue, "1% frames", val="0")
    assert len(share.labelled) == 3  # the first of each


def test_val_is_whole_sequences_that_no_frame_comes_from(files) -> None:
    videos(files, sequences=4)
    catalogue = scan(files.root, quiet=True)
    for val in (None, "1"):
        split, _ = choose_split(catalogue, "20% frames", val=val)
        held = {catalogue.by_id[case].patient for case in split.val}
        assert len(held) == 1
        assert not held & {catalogue.by_id[case].patient for case in (*split.labelled, *split.unlabelled)}
        assert len(split.labelled) == 3


@pytest.mark.parametrize(
    ("labelled", "error", "message"),
    [
        ("99 frames", DataError, "--labelled 99 frames: only 15 images with masks to choose from"),
        ("0 frames", SettingsError, "--labelled 0: at least 1"),
        ("2.5 frames", SettingsError, "is whole"),
        ("120% frames", SettingsError, "a percentage lies between 0 and 100"),
    ],
)
def test_impossible_budgets_are_refused(files, labelled, error, message) -> None:
    videos(files)
    catalogue = scan(files.root, quiet=True)
    with pytest.raises(error, match=message):
        choose_split(catalogue, labelled, val="0")


def test_only_the_labelled_are_counted_by_frame(files) -> None:
    videos(files)
    with pytest.raises(SettingsError, match="--val 3 frames: whole patients or sequences alone; write --val 3"):
        choose_split(scan(files.root, quiet=True), "2", val="3 frames")


def test_what_the_labelled_masks_show(files, tmp_path) -> None:
    videos(files, sequences=2, frames=2)
    files.mask("annot/v1/1.png", (0, 2), SHAPE)
    files.text("dataset.yaml", "labels: {background: 0, one: 1, two: 2}\n")
    catalogue = scan(files.root, quiet=True)
    preparation = Preparation(dims=2, size=SHAPE[1:], channels=1)
    for labelled, missing in ((("v0_0",), ("two",)), (("v1_1",), ("one",)), (("v0_0", "v1_1"), ())):
        labelled = tuple(f"{case}" for case in labelled)
        split = Split(labelled=labelled)
        counts = labelled_voxels(catalogue, split)
        assert tuple(name for name, count in counts.items() if not count) == missing
        assert sum(counts.values()) == sum(int((np.resize([0, 1], SHAPE) > 0).sum()) for _ in labelled)
        cache = prepare(catalogue, split, preparation, tmp_path / "-".join(labelled), quiet=True)
        assert shown(cache, split, catalogue.labels.names) == counts
    assert labelled_voxels(catalogue, Split(labelled=("v0_0:0",))) is None
