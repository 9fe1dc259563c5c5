"""What layouts of videos share: pictures by stem, sequences in two roles, counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from fewmask.data.layouts.frames import counted, pictures, refuse_shared
from fewmask.errors import DataError
from fewmask.types import Case


def test_pictures_are_those_right_in_the_folder(files) -> None:
    files.image("v/00001.png")
    files.image("v/deeper/00002.png")
    files.text("v/notes.txt", "no picture")
    files.text("v/.hidden.png", "")
    assert {name: path.name for name, path in pictures(files.root / "v").items()} == {"00001": "00001.png"}
    assert pictures(files.root / "absent") == {}


def test_a_sequence_has_one_role() -> None:
    refuse_shared({"train": ("a", "b", "a"), "val": ("c",)}, "choose")
    with pytest.raises(DataError, match="sequence 'b' is both in train and in val; choose one"):
        refuse_shared({"train": ("a", "b"), "val": ("b",)}, "choose one")


def test_counts_name_what_has_no_mask() -> None:
    cases = [
        Case(id=f"{sequence}{frame}", patient=sequence, images=(Path("x"),), label=Path("m") if masked else None)
        for sequence, frame, masked in (("a", 0, True), ("a", 1, False), ("b", 0, False))
    ]
    assert counted("half", cases) == [
        "half: 2 sequences, 3 frames, 1 with a mask",
        "half: without any mask, and so unlabelled: b",
    ]
    assert counted("half", cases[:1], "video") == ["half: 1 video, 1 frames, 1 with a mask"]
