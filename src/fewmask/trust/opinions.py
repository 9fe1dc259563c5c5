"""The members of a model are asked about one case; what they say is its evidence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from fewmask.config import Predict
from fewmask.predictors import Model
from fewmask.seeding import derive
from fewmask.trust.appearance import appearance, descriptor
from fewmask.trust.evidence import Evidence, class_evidence
from fewmask.trust.members import Level, Member, members
from fewmask.trust.watch import Watch
from fewmask.windows import Windows, evaluating


class Opinions:
    """Of one level on one case: first the plain prediction is overheard, then the other members are asked."""

    def __init__(
        self, model: Model, level: Level, *, settings: Predict, device: torch.device | str, seed: int, whole: bool
    ) -> None:
        """seed: of the run and the case; whole: as in `Windows.blocks`."""
        self.model, self.level, self.seed, self.device, self.whole = model, level, seed, device, whole
        self.settings = settings.model_copy(update={"flips": False})  # mirrored copies are members of their own
        self.members = members(model, level)
        self._plain: Watch | None = None

    def overhear(self, blocks: Iterator[Tensor], shape: Sequence[int]) -> Iterator[Tensor]:
        """The plain prediction's blocks of probabilities, unchanged; shape: of the prepared image (D, H, W)."""
        if not self.members:
            return blocks
        self._plain = Watch(len(self.model.labels), shape)
        return self._plain.over(blocks)

    def evidence(self, case: str, image: np.ndarray, mask: np.ndarray, voxel_ml: float | None) -> Evidence | None:
        """What the level says of a case; None at level none.

        image (C, D, H, W): prepared and normalised; mask (D, H, W): class indices on the native grid, whose voxels have
        voxel_ml, None without spacing.
        """
        if self._plain is None:
            return None
        watches = [self._plain, *(self._ask(member, image, self._plain.label) for member in self.members[1:])]
        return Evidence(
            case=case,
            level=self.level,
            members=[member.name for member in self.members],
            classes=class_evidence(mask, watches, self.model.labels.names, voxel_ml),
            image=appearance(image),
            descriptor=descriptor(image),
        )

    def _ask(self, member: Member, image: np.ndarray, plain: np.ndarray) -> Watch:
        """What a member says, held against the plain label; both as the image lies without the member's view."""
        windows = Windows(
            member.predictor,
            patch_size=self.model.patch_size,
            settings=self.settings,
            device=self.device,
            seed=derive(self.seed, "member", member.draw),
        )
        turn = member.view.turn
        watch = Watch(len(self.model.labels), plain.shape, turn(plain))
        with evaluating(member.predictor, self.device), torch.no_grad():
            for _ in watch.over(windows.blocks(turn(member.view.tone(image)), self.whole)):
                pass
        watch.label = turn(watch.label)
        return watch
