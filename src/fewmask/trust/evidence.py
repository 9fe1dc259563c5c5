"""Evidence: what the trust in a mask rests on, written beside it as evidence/<case>.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy import ndimage

from fewmask import metrics
from fewmask.errors import DataError
from fewmask.trust.members import QUICK, Level
from fewmask.trust.watch import Watch

FOLDER = "evidence"
SPECK = 0.01
"""Components smaller than this share of a class's voxels do not count."""


@dataclass(frozen=True, kw_only=True)
class ClassEvidence:
    """One class in one predicted mask.

    agreement: pairwise Dice of the members (M, M), None where neither of two members found the class; soft_dice (M,):
    of the mask and each member's probabilities, None where the mask has no such voxel; confidence: mean probability
    over the mask's voxels; volume_ml None without spacing; border: share of the class's voxels on the rim of a slice.
    """

    agreement: Sequence[Sequence[float | None]]
    soft_dice: Sequence[float | None]
    confidence: float | None
    voxels: int
    volume_ml: float | None
    components: int
    border: float

    def score(self, level: Level) -> float | None:
        """Mean of three signs, in [0, 1]; 0: only others found the class; None: nobody did.

        How far the members' labels agree (`pairwise`), how far their probabilities lie where the mask does (the soft
        Dice confidence of Borges et al., arXiv:2402.10665, averaged over members), and how sure the network is of its
        mask.  None of them is the best on all data (docs/results/trust.md).
        """
        pairwise = self.pairwise(level)
        soft = [value for value in self.soft_dice[: self._count(level)] if value is not None]
        if not soft or self.confidence is None:
            return None if pairwise is None else 0.0
        signs = [sum(soft) / len(soft), self.confidence, *([] if pairwise is None else [pairwise])]
        return sum(signs) / len(signs)

    def pairwise(self, level: Level) -> float | None:
        """Mean Dice of all pairs of members (Zenk et al., MedIA 2025, arXiv:2406.03323); None: nobody found the class.

        A pair of which one found the class and the other did not counts as 0.
        """
        found = [self.agreement[a][b] for a, b in combinations(range(self._count(level)), 2)]
        known = [value for value in found if value is not None]
        return sum(known) / len(known) if known else None

    def _count(self, level: Level) -> int:
        return min(QUICK, len(self.agreement)) if level == "quick" else len(self.agreement)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All of one case.  classes: name -> its evidence, the background left out; image: see `appearance`."""

    case: str
    level: Level
    members: Sequence[str]
    classes: Mapping[str, ClassEvidence]
    image: Mapping[str, float]
    descriptor: Sequence[float]

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False, allow_nan=False) + "\n"


def read_evidence(path: Path) -> Evidence:
    """The evidence in a file.  Raises DataError where it is broken."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        classes = {name: ClassEvidence(**found) for name, found in values.pop("classes").items()}
        return Evidence(classes=classes, **values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); delete it and predict again") from None


def pairwise_dice(labels: Sequence[np.ndarray], classes: int) -> np.ndarray:
    """Dice of each class between each two of the members' labels (D, H, W) -> (K, M, M), NaN where both are empty."""
    found = np.full((classes, len(labels), len(labels)), np.nan)
    for a, b in combinations(range(len(labels)), 2):
        found[:, a, b] = found[:, b, a] = metrics.dice(metrics.confusion(labels[a], labels[b], classes))
    return found


def components(mask: np.ndarray) -> int:
    """Connected parts (faces, edges and corners) of a bool mask that hold over SPECK of it."""
    labelled, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
    if count == 0:
        return 0
    sizes = np.bincount(labelled.ravel())[1:]
    return int((sizes > SPECK * sizes.sum()).sum())


def border_share(mask: np.ndarray) -> float:
    """Share of a bool mask (D, H, W) that lies on the rim of a slice; 0 for an empty one."""
    total = int(mask.sum())
    inner = int(mask[:, 1:-1, 1:-1].sum())
    return (total - inner) / total if total else 0.0


def _known(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)


def class_evidence(
    mask: np.ndarray, watches: Sequence[Watch], names: Sequence[str], voxel_ml: float | None
) -> dict[str, ClassEvidence]:
    """Name -> evidence of each class but the background.

    mask (D, H, W): class indices on the native grid; watches: what each member said on the prepared one, the plain
    prediction first; names: classes, background first.
    """
    agreement = pairwise_dice([watch.label for watch in watches], len(names))
    confidence, soft = watches[0].confidence, np.array([watch.soft_dice for watch in watches])
    found = {}
    for index, name in enumerate(names[1:], start=1):
        one = mask == index
        voxels = int(one.sum())
        box = ndimage.find_objects(one.astype(np.uint8))
        found[name] = ClassEvidence(
            agreement=[[_known(value) for value in row] for row in agreement[index]],
            soft_dice=[_known(value) for value in soft[:, index]],
            confidence=_known(confidence[index]),
            voxels=voxels,
            volume_ml=None if voxel_ml is None else voxels * voxel_ml,
            components=components(one[box[0]]) if box else 0,
            border=round(border_share(one), 5),
        )
    return found
