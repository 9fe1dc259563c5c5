import pytest
import torch

from fewmask.types import ROLES, Batch, Clock, Split, Stream, Task


def test_the_rank_is_the_length_of_the_patch():
    assert Task(channels=1, classes=2, names=("a", "b"), patch_size=(3, 4, 5)).dims == 3
    with pytest.raises(ValueError, match="differ in rank"):
        Task(channels=1, classes=2, names=("a", "b"), patch_size=(3, 4), dims=3)


def test_labelled_entries_are_cases_or_slices():
    split = Split(labelled=("whole", "part:3", "part:1", "name:with:2"))
    assert split.labelled_slices == {"whole": None, "part": (3, 1), "name:with": (2,)}


def test_the_cases_of_each_role():
    split = Split(labelled=("a:3", "a:1", "b"), unlabelled=("a", "c"), test=("d",))
    assert {role: split.cases(role) for role in ROLES} == {
        "labelled": ("a", "b"),
        "unlabelled": ("a", "c"),
        "val": (),
        "test": ("d",),
    }


def test_moving_a_batch_keeps_what_is_none():
    stream = Stream(image=torch.ones(1, 1, 2, 2), strong=torch.ones(0, 1, 1, 2, 2), valid=torch.ones(1, 2, 2).bool())
    moved = Batch(labelled=stream).to("meta")
    assert moved.unlabelled is None and moved.labelled.label is None and moved.labelled.image.is_meta


def test_fractions_of_the_clock():
    clock = Clock(step=30, total=120, stage="b", stage_step=10, stage_total=40, generator=torch.Generator())
    assert (clock.fraction, clock.stage_fraction) == (0.25, 0.25)
