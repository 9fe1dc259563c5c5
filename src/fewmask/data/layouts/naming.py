"""What names of files and folders say: image or mask, train or test, and the rest that both of a pair share."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from fewmask.data.layouts.lists import ROLES

MASK_WORD = (
    "mask|label|lbl|labelmap|labelstr|labelsts|annot|annotation|seg|segmentation|gt|groundtruth|manual|target|roi"
)
IMAGE_WORD = "image|img|imagestr|imagests|imagesun|scan|volume|vol|frame|photo|picture|input|raw|data"
"""Regular expressions of the words that tell; an s may follow."""


class Kind(Enum):
    """What a name says its file is."""

    IMAGE = "image"
    MASK = "mask"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Word:
    """A name: its kind, and the rest without the words that tell it."""

    kind: Kind
    rest: str


def folder_word(name: str) -> Word:
    """`train_masks` -> mask, "train"; `imagesTr` -> image, "tr"; `patient1` -> unknown, "patient1"."""
    text = "_".join(part.lower() for part in re.split(r"[-_. ]+|(?<=[a-z])(?=[A-Z])", name) if part)
    parts = text.replace("ground_truth", "groundtruth").split("_")
    kinds = [_kind(part) for part in parts]
    kind = Kind.MASK if Kind.MASK in kinds else Kind.IMAGE if Kind.IMAGE in kinds else Kind.UNKNOWN
    if kind is Kind.UNKNOWN:
        return Word(kind, name)
    return Word(kind, "_".join(part for part, of in zip(parts, kinds, strict=True) if of is Kind.UNKNOWN))


def stem_word(stem: str) -> Word:
    """`x_mask`, `mask-x`, `mask1`, `x_seg_2` -> mask, "x"; `x_image`, `x_0000`, `img1` -> image, "x"; else unknown."""
    for kind, words in ((Kind.MASK, MASK_WORD), (Kind.IMAGE, IMAGE_WORD)):
        word = f"(?:{words})s?"
        patterns = [rf"(?:(?P<rest>.*)[-_. ])?{word}", rf"{word}(?:[-_. ]+|(?=\d))(?P<rest>.+)"]
        if kind is Kind.MASK:
            patterns.append(rf"(?P<rest>.+)[-_. ]{word}[-_]?\d{{1,2}}")
        for pattern in patterns:
            match = re.fullmatch(pattern, stem, re.IGNORECASE)
            if match:
                return Word(kind, match["rest"] or "")
    channel = re.fullmatch(r"(?P<rest>.+)_0000", stem)
    return Word(Kind.IMAGE, channel["rest"]) if channel else Word(Kind.UNKNOWN, stem)


def role_of(folder: str) -> str | None:
    """The role that the rest of a folder's name gives (train, val, test, labelled, unlabelled), or None."""
    roles = [{"ts": "test"}.get(part, ROLES.get(part)) for part in folder.lower().split("_")]
    return next((role for role in roles if role), None)


def is_role(folder: str) -> bool:
    """Whether the folder sorts cases by role and so is no patient."""
    return folder.lower() in ("", "tr", "ts", "un") or folder.lower() in ROLES


def _kind(part: str) -> Kind:
    for kind, words in ((Kind.MASK, MASK_WORD), (Kind.IMAGE, IMAGE_WORD)):
        if re.fullmatch(f"(?:{words})s?", part):
            return kind
    return Kind.UNKNOWN
