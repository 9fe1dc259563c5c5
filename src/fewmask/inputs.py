"""What a person gives to `predict` -> cases without masks: files, folders of images, data sets, catalogues."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from fewmask.data import formats
from fewmask.data.hdf5 import UA_MT_NAME
from fewmask.data.layouts import find_cases
from fewmask.data.layouts.found import identifier
from fewmask.data.layouts.nnunet import CHANNEL
from fewmask.errors import DataError
from fewmask.types import Case


def input_cases(inputs: Iterable[Path], channels: Sequence[str]) -> list[Case]:
    """The cases of all inputs in their order, each once and without its mask; `channels`: what the model takes.

    nnU-Net's CASE_0000, CASE_0001 become one case where the model has several channels.  Raises DataError for a path
    that is not there or holds no image, for a missing channel, and where two files would give one id.
    """
    found: list[Case] = []
    for path in inputs:
        if path.is_dir():
            known = find_cases(path)[2]
            cases = [replace(case, id=_id(case), label=None) for case in known.cases]
            if not cases and (why := next((row["why"] for row in known.series if row["why"]), "")):
                raise DataError(f"{path}: no series that can be read ({why}); export it again")
        elif path.is_file():
            cases = _of_file(path, len(channels))
        else:
            raise DataError(f"{path}: no such file or folder; check the path")
        if not cases:
            raise DataError(f"{path}: no image in it")
        found += cases
    unique: dict[str, Case] = {}
    for case in _grouped(_told_apart(found), channels):
        other = unique.setdefault(case.id, case)
        if other.images != case.images:
            raise DataError(f"{other.images[0]} and {case.images[0]} would both be case '{case.id}'; rename one")
    return list(unique.values())


def _told_apart(cases: Sequence[Case]) -> list[Case]:
    """DICOM series of one name, as archives call every patient's alike, with the folder above in front."""
    homes: dict[str, set[Path]] = {}
    for case in cases:
        homes.setdefault(case.id, set()).add(case.images[0].absolute())
    shared = {name for name, paths in homes.items() if len(paths) > 1}
    return [
        replace(case, id=identifier(f"{case.images[0].absolute().parent.name}_{case.id}"))
        if case.id in shared and formats.is_dicom(case.images[0])
        else case
        for case in cases
    ]


def _id(case: Case) -> str:
    """The case's id; UA-MT calls every file the same, so a lone one is named by its folder."""
    path = case.images[0]
    return path.absolute().parent.name if case.id == formats.stem(path) and path.name == UA_MT_NAME else case.id


def _of_file(path: Path, channels: int) -> list[Case]:
    """The file as a case; of a file a channel, all of them."""
    name = _id(Case(id=formats.stem(path), patient="", images=(path,)))
    match = CHANNEL.match(name)
    paths = [path]
    if match and channels > 1 and formats.read_header(path).channels == 1:
        ending = formats.suffix(path)
        start = path.name[: -len("0000" + ending)]
        paths = [path.with_name(f"{start}{channel:04d}{path.name[-len(ending) :]}") for channel in range(channels)]
    cases = [Case(id=formats.stem(p) if p is not path else name, patient="", images=(p,)) for p in paths]
    return [replace(case, patient=case.id) for case in cases if case.images[0].is_file()]


def _grouped(cases: Sequence[Case], channels: Sequence[str]) -> list[Case]:
    """Cases of a file a channel joined; others as they are."""
    matches = {case.id: CHANNEL.match(case.id) for case in cases if len(case.images) == 1}
    if not matches or not all(matches.values()):
        return list(cases)
    if len(channels) == 1:
        if any(match["channel"] != "0000" for match in matches.values()):
            return list(cases)  # numbered frames, not channels
        return [replace(case, id=matches[case.id]["case"]) if case.id in matches else case for case in cases]
    if formats.read_header(cases[0].images[0]).channels == len(channels):
        return list(cases)  # each file holds all channels: numbered frames
    joined: dict[str, dict[str, Case]] = {}
    for case in cases:
        joined.setdefault(matches[case.id]["case"], {})[matches[case.id]["channel"]] = case
    for name, files in joined.items():
        if len(files) != len(channels):
            raise DataError(
                f"{name}: {len(files)} channel files ({', '.join(sorted(files))}), "
                f"but the model takes {len(channels)} ({', '.join(channels)})"
            )
    return [
        Case(id=name, patient=name, images=tuple(files[key].images[0] for key in sorted(files)))
        for name, files in joined.items()
    ]
