"""Endoscapes2023 with its public masks (Seg50): train_seg/, val_seg/, test_seg/, masks in semseg/, frames in train/.

Frames are called VIDEO_FRAME.jpg.  Masks hold class numbers in three equal channels; 255 is uncertain and ignored, as
the maintainers ask.  Unlabelled frames come from train/ and 25/train_2/, of the videos of train_seg alone: the official
unlabelled pool.  Layout `endoscapes_all` takes those of all training videos.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from fewmask.data.layouts.found import Found, identifier, in_order, some
from fewmask.data.layouts.frames import counted, pictures, refuse_shared
from fewmask.data.layouts.lists import entries
from fewmask.errors import DataError
from fewmask.types import Case

ROLES = ("train", "val", "test")
MASKS, POOLS, LIST = "semseg", ("train", "25/train_2"), "annotation_coco.json"
NAMES = {
    "background": 0,
    "cystic plate": 1,
    "calot triangle": 2,
    "cystic artery": 3,
    "cystic duct": 4,
    "gallbladder": 5,
    "tool": 6,
}
UNCERTAIN, STRAY = 255, 7
"""STRAY: a value that a published mask holds and no class has."""


def recognise(folder: Path) -> bool:
    """Whether semseg/ lies beside a folder of frames that have masks."""
    return (folder / MASKS).is_dir() and any((folder / f"{role}_seg").is_dir() for role in ROLES)


def read(folder: Path) -> Found:
    """A case a frame; videos are the groups."""
    return read_frames(folder, all_videos=False)


def read_frames(folder: Path, *, all_videos: bool) -> Found:
    """all_videos: unlabelled frames of every training video, not of those with masks alone."""
    masks, used = pictures(folder / MASKS), set()
    findings: list[str] = []
    by_role: dict[str, list[Case]] = {}
    for role in ROLES:
        by_role[role] = list(_with_masks(folder, role, masks, findings))
        used |= {case.id for case in by_role[role]}
        if by_role[role]:
            findings += counted(f"{role}_seg", by_role[role], "video")
    videos = {role: list(dict.fromkeys(case.patient for case in cases)) for role, cases in by_role.items()}
    refuse_shared({f"{role}_seg": names for role, names in videos.items()}, "move its frames into one of them")
    for role, names in videos.items():
        findings += _check_videos(folder / f"{role}_seg_vids.txt", names)
    held_out = {*videos["val"], *videos["test"]}
    pool, others = [], set()
    for path in (path for name in POOLS for path in pictures(folder / name).values()):
        id_, video = _names(path)
        if id_ in used:
            continue
        if video in held_out:
            raise DataError(f"{path}: video {video} has frames in val_seg or test_seg as well; take these out of one")
        if not all_videos and video not in videos["train"]:
            others.add(video)
            continue
        used.add(id_)
        pool.append(Case(id=id_, patient=video, images=(path,)))
    if pool:
        findings += [f"unlabelled frames of training videos: {len(pool)}"]
    if others:
        findings.append(
            f"frames of {len(others)} training videos without masks are left out; --layout endoscapes_all takes them"
        )
    orphans = sorted(masks.keys() - used)
    if orphans:
        findings.append(f"{MASKS}: {len(orphans)} masks have no frame and are left out: {some(orphans)}")
    cases = in_order([*(case for group in by_role.values() for case in group), *pool])
    return Found(
        cases=cases,
        names=NAMES,
        ignore=UNCERTAIN,
        merged={STRAY: UNCERTAIN},
        lists={role: tuple(case.id for case in in_order(group)) for role, group in by_role.items() if group},
        findings=tuple(findings),
    )


def _with_masks(folder: Path, role: str, masks: dict[str, Path], findings: list[str]) -> Iterator[Case]:
    """The frames of ROLE_seg: those of its COCO list, or all where there is none."""
    root = folder / f"{role}_seg"
    frames = pictures(root)
    if (root / LIST).is_file():
        named = _coco_images(root / LIST)
        missing = [name for name in named if name not in frames]
        if missing:
            findings.append(f"{root.name}/{LIST}: {len(missing)} of {len(named)} frames are not there: {some(missing)}")
        extra = frames.keys() - set(named)
        if extra:
            findings.append(
                f"{root.name}: {len(extra)} frames are not in {LIST} and are left out: {some(sorted(extra))}"
            )
        frames = {name: frames[name] for name in named if name in frames}
    for name, path in frames.items():
        id_, video = _names(path)
        yield Case(id=id_, patient=video, images=(path,), label=masks.get(name))


def _names(path: Path) -> tuple[str, str]:
    """Case id and video of VIDEO_FRAME.jpg."""
    video, underscore, frame = path.stem.partition("_")
    if not (underscore and video.isdecimal() and frame.isdecimal()):
        raise DataError(f"{path}: expected a name like 12_34500{path.suffix}, VIDEO_FRAME; rename it or take it out")
    return identifier(path.stem), str(int(video))


def _coco_images(path: Path) -> list[str]:
    """The stems of the images that a COCO file lists."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        return [Path(str(image["file_name"])).stem for image in content["images"]]
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: no COCO list of images ({type(error).__name__}: {reason}); copy it again") from None


def _check_videos(path: Path, videos: list[str]) -> list[str]:
    """What differs between the frames' videos and the published list, whose numbers are written as 1.85e+02."""
    if not path.is_file() or not videos:
        return []
    listed = []
    for line in entries(path):
        try:
            number = float(line)
        except ValueError:
            number = 0.5
        if not number.is_integer():
            raise DataError(f"{path}: '{line}' is no number of a video; correct it")
        listed.append(str(int(number)))
    apart = sorted(set(listed) ^ set(videos), key=int)
    return [f"{path.name} and the frames differ in videos {some(apart)}"] if apart else []
