"""Dice on the validation cases during training, on the prepared grid: it chooses the checkpoint, it is not reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Self

import numpy as np
import torch

from fewmask import config
from fewmask.data.cache import Cache
from fewmask.data.catalogue import Catalogue
from fewmask.data.intensity import Fingerprint
from fewmask.methods.base import Method
from fewmask.predictors import Predictor
from fewmask.windows import predict_prepared


class Validation:
    """Predicts whole validation cases and compares them with their masks."""

    def __init__(
        self,
        cache: Cache,
        groups: Mapping[str, str],
        *,
        names: Sequence[str],
        patch_size: tuple[int, ...],
        intensity: str,
        fingerprint: Fingerprint,
        flip: tuple[int, ...],
        settings: config.Predict,
        device: torch.device,
        seed: int,
    ) -> None:
        """groups: case -> what its Dice is pooled over: the case itself, or the sequence of a planar frame."""
        self.cache, self.groups, self.names = cache, groups, names
        self.patch_size, self.intensity, self.fingerprint = patch_size, intensity, fingerprint
        self.flip, self.settings, self.device, self.seed = flip, settings, device, seed

    @classmethod
    def planned(
        cls,
        catalogue: Catalogue,
        ids: Sequence[str],
        cache: Cache,
        settings: config.Config,
        fingerprint: Fingerprint,
        device: torch.device,
    ) -> Self:
        """The validation that a run's settings describe, on the cases `ids`."""
        cases = [catalogue.by_id[case] for case in ids]
        return cls(
            cache,
            {case.id: case.patient if catalogue.planar else case.id for case in cases},
            names=catalogue.labels.names,
            patch_size=settings.plan.size,
            intensity=settings.plan.intensity,
            fingerprint=fingerprint,
            flip=settings.plan.flip,
            settings=settings.predict,
            device=device,
            seed=settings.train.seed,
        )

    def of(self, method: Method) -> dict[str, object]:
        """`dice` of what the method would predict now and, under "pseudo", the mean Dice of its pseudo-labels.

        Leaves the method's networks in evaluation mode.
        """
        predictor = method.predictor().eval()
        result = self.dice(predictor)
        labels = dict(islice(method.audit().items(), 2))  # the others are controls
        result["pseudo"] = {
            name: result["dice"] if _same(variant, predictor) else self.dice(variant.eval())["dice"]
            for name, variant in labels.items()
        }
        return result

    def dice(self, predictor: Predictor) -> dict[str, object]:
        """{"dice": mean over classes, "per_class": {name: mean over groups}}; background is not counted.

        A class that neither mask nor prediction of a group contains is left out of that group, one that no mask of val
        contains of all: val cannot tell how well it is found, and a single voxel would weigh as much as all of another.
        """
        counts: dict[str, np.ndarray] = {}
        for case, group in self.groups.items():
            counts[group] = counts.get(group, 0) + self._counts(case, predictor)
        tables = np.stack(list(counts.values()))  # (groups, K - 1, [overlap, predicted, true])
        sizes = tables[..., 1] + tables[..., 2]
        judged = (sizes > 0) & (tables[..., 2].sum(0) > 0)
        scores = np.where(judged, 2 * tables[..., 0] / np.maximum(sizes, 1), np.nan)
        per_class = {
            name: float(np.nanmean(column)) if np.isfinite(column).any() else None
            for name, column in zip(self.names[1:], scores.T, strict=True)
        }
        found = [score for score in per_class.values() if score is not None]
        return {"dice": float(np.mean(found)) if found else 0.0, "per_class": per_class}

    def _counts(self, case: str, predictor: Predictor) -> np.ndarray:
        """Voxels (K - 1, 3) of overlap, prediction and truth, per class."""
        prepared = self.cache.open(case)
        image = self.cache.normalised(case, self.intensity, self.fingerprint)
        probabilities = predict_prepared(
            predictor,
            image,
            case=case,
            patch_size=self.patch_size,
            settings=self.settings,
            flip=self.flip,
            device=self.device,
            seed=self.seed,
        )
        truth = np.asarray(prepared.label)
        scored = truth != np.iinfo(truth.dtype).max
        predicted = np.asarray(probabilities).argmax(0)
        return np.array(
            [
                [((predicted == k) & (truth == k)).sum(), ((predicted == k) & scored).sum(), (truth == k).sum()]
                for k in range(1, len(self.names))
            ],
            dtype=np.int64,
        )


def _same(one: Predictor, other: Predictor) -> bool:
    """Whether two predictors are the same network with the same weights."""
    return one.spec == other.spec and all(a is b for a, b in zip(one.parameters(), other.parameters(), strict=True))
