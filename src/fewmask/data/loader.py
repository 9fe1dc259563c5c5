"""Two endless streams -> Batch, as a pure function of (seed, stage, stream, index).

So the batches are the same for any number of loader processes and of training processes, and a run restarts at any step
without replaying what came before.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from fewmask.data import intensity, patches, views
from fewmask.data.cache import Cache, Prepared
from fewmask.errors import DataError, SettingsError
from fewmask.seeding import generator
from fewmask.types import Batch, Split, Stage, Stream, Views

FOREGROUND = 0.5
"""Share of labelled 3-D patches that are centred on a labelled structure.  nnU-Net's is a third (Isensee et al., Nature
Methods 2021, supplement 4); ours is a half, which was not compared."""

OPEN_CASES = 200  # memory-mapped at a time; each holds two file descriptors


class Unit(NamedTuple):
    """What one sample is drawn from: a slice of a case, or a whole case (slice None)."""

    case: str
    slice: int | None


class Source:
    """Prepared cases, normalised and cut to samples."""

    def __init__(
        self,
        cache: Cache,
        split: Split,
        *,
        patch_size: tuple[int, ...],
        intensity_kind: str,
        fingerprint: intensity.Fingerprint,
    ) -> None:
        self.cache, self.patch_size = cache, patch_size
        self.intensity_kind, self.fingerprint = intensity_kind, fingerprint
        self.slices = split.labelled_slices
        self._depth: dict[str, int] = {}
        self.units = {
            "labelled": self._units({case: chosen for case, chosen in self.slices.items()}),
            "unlabelled": self._units({case: None for case in split.unlabelled})
            + self._rest({case: chosen for case, chosen in self.slices.items() if chosen is not None}),
        }
        self._open = lru_cache(maxsize=OPEN_CASES)(cache.open)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_open"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open = lru_cache(maxsize=OPEN_CASES)(self.cache.open)

    def cases(self, stream: str) -> tuple[str, ...]:
        """The ids of the cases that a stream draws from."""
        return tuple(dict.fromkeys(unit.case for unit in self.units[stream]))

    def depth(self, case: str) -> int:
        """Slices of a case on the prepared grid."""
        if case not in self._depth:
            self._depth[case] = self.cache.open(case).grid.shape[0]
        return self._depth[case]

    def _units(self, cases: Mapping[str, tuple[int, ...] | None]) -> list[Unit]:
        if len(self.patch_size) == 3:
            return [Unit(case, None) for case in cases]
        for case, chosen in cases.items():
            if chosen is not None and max(chosen) >= self.depth(case):
                raise DataError(f"{case}:{max(chosen)}: the case has slices 0 to {self.depth(case) - 1}")
        return [
            Unit(case, index)
            for case, chosen in cases.items()
            for index in (range(self.depth(case)) if chosen is None else chosen)
        ]

    def _rest(self, cases: Mapping[str, tuple[int, ...]]) -> list[Unit]:
        """The slices of partly labelled cases that carry no label: unlabelled images."""
        if len(self.patch_size) == 3:
            return [Unit(case, None) for case in cases]
        return [Unit(c, i) for c, chosen in cases.items() for i in range(self.depth(c)) if i not in chosen]

    def unit(self, stream: str, index: int, *key: int | str) -> Unit:
        """The `index`-th draw of an endless sequence of shuffled passes over the stream."""
        units = self.units[stream]
        return units[_order(len(units), *key, stream, index // len(units))[index % len(units)]]

    def cut(
        self, unit: Unit, rng: np.random.Generator, block: tuple[int, ...], labelled: bool, bank: Path | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """image (C, *block) float32, normalised, and maps (M, *block) float32.

        maps[0] is the class, -1 where ignored or beyond the image (0 for unlabelled samples); maps[1:] are the bank's
        label and weight where there is one.
        """
        case = self._open(unit.case)
        middle = self._middle(case, unit, rng, labelled)
        image = intensity.normalise(
            patches.cut(case.image, middle, block, None).astype(np.float32) * case.scale,
            self.intensity_kind,
            case.statistics,
            self.fingerprint,
        )
        if labelled:
            label = patches.cut(case.label, middle, block, np.iinfo(case.label.dtype).max)
            classes = np.where(label == np.iinfo(label.dtype).max, -1.0, label)
        else:
            classes = patches.cut(np.broadcast_to(np.int8(0), case.grid.shape), middle, block, -1)
        maps = [classes]
        if bank is not None:
            pseudo, weight = _read_bank(bank / f"{unit.case}.npz")
            maps += [patches.cut(pseudo, middle, block, 0), patches.cut(weight, middle, block, 0)]
        return image, np.stack(maps).astype(np.float32)

    def _middle(self, case: Prepared, unit: Unit, rng: np.random.Generator, labelled: bool) -> tuple[int, ...]:
        shape = case.grid.shape
        if unit.slice is not None:
            return (unit.slice, shape[1] // 2, shape[2] // 2)
        chosen = self.slices.get(unit.case) if labelled else None
        locations = case.locations if labelled else None
        middle = patches.centre(rng, shape, self.patch_size, locations, FOREGROUND if labelled else 0.0)
        if chosen is not None:  # only these slices carry a label: a patch without one teaches nothing
            middle = (int(rng.choice(chosen)), *middle[1:])
        return middle

    def whole(self, case_id: str) -> Stream:
        """A whole unaugmented case without its label, for `Method.relabel`: slices as rows in 2-D, one row in 3-D."""
        case = self._open(case_id)
        image = intensity.normalise(
            np.asarray(case.image, dtype=np.float32) * case.scale,
            self.intensity_kind,
            case.statistics,
            self.fingerprint,
        )
        rows = torch.from_numpy(image)
        rows = rows.movedim(1, 0).contiguous() if len(self.patch_size) == 2 else rows[None]
        valid = torch.ones(rows.shape[0], *rows.shape[2:], dtype=torch.bool)
        return Stream(image=rows, strong=rows[:0, None], valid=valid, case=(case_id,))


@lru_cache(maxsize=16)
def _order(count: int, *key: int | str) -> np.ndarray:
    return generator(*key, "order").permutation(count)


@lru_cache(maxsize=OPEN_CASES)
def _read_bank(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return file["label"], file["weight"]


class StageBatches(Dataset):
    """The batches of one stage; item i is the batch of the stage's step i, restricted to the rows of this process."""

    def __init__(
        self,
        source: Source,
        wanted: Views,
        stage: Stage,
        *,
        seed: int,
        number: int = 0,
        bank: Path | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """number: position of the stage in the run; bank: folder of `relabel`'s files; rank of world processes."""
        self.source, self.views, self.stage, self.bank = source, wanted, stage, bank
        self.seed, self.number, self.rank, self.world = seed, number, rank, world
        unlabelled = stage.unlabelled_batch if wanted.unlabelled else 0
        self.sizes = {"labelled": stage.labelled_batch, "unlabelled": unlabelled}
        for stream, size in self.sizes.items():
            if size % world:
                raise SettingsError(f"{stream}_batch={size} cannot be shared by {world} processes; choose a multiple")
            if size and not source.units[stream]:
                raise SettingsError(
                    f"the split has no {stream} image but the method asks for {size} in a step; "
                    "use --method supervised or give more cases"
                )

    def __getitem__(self, step: int) -> Batch:
        unlabelled = self._stream("unlabelled", step) if self.sizes["unlabelled"] else None
        return Batch(labelled=self._stream("labelled", step), unlabelled=unlabelled)

    def _stream(self, name: str, step: int) -> Stream:
        labelled = name == "labelled"
        bank = None if labelled else self.bank
        patch = self.source.patch_size
        block = views.reach(self.views.weak, patch) if len(patch) == 3 else patch
        size = self.sizes[name]
        indices = range(step * size + self.rank, (step + 1) * size, self.world)
        units = [self.source.unit(name, index, self.seed, self.number) for index in indices]
        rngs = [generator(self.seed, "weak", self.number, name, index) for index in indices]
        cuts = [self.source.cut(unit, rng, block, labelled, bank) for unit, rng in zip(units, rngs, strict=True)]
        image = torch.from_numpy(np.stack([image for image, _ in cuts]))
        maps = torch.from_numpy(np.stack([maps for _, maps in cuts]))
        image, maps, inside = views.weak(image, maps, self.views.weak, patch, rngs)
        variants = [
            views.strong(image, view, [generator(self.seed, "strong", self.number, name, i, v) for i in indices])
            for v, view in enumerate(self.views.strong)
        ]
        return Stream(
            image=image,
            strong=torch.stack(variants) if variants else image.new_empty((0, *image.shape)),
            valid=inside & (maps[:, 0] >= 0),
            label=maps[:, 0].clamp_min(0).long() if labelled else None,
            pseudo=maps[:, 1].long() if bank else None,
            weight=maps[:, 2] if bank else None,
            case=tuple(unit.case if unit.slice is None else f"{unit.case}:{unit.slice}" for unit in units),
        )


def iterate(batches: StageBatches, start: int, stop: int, workers: int) -> Iterator[Batch]:
    """The batches of steps start..stop-1, prepared ahead by `workers` processes (0: in this one).

    Close it to end the processes at once.
    """
    yield from DataLoader(
        batches,
        batch_size=None,
        sampler=range(start, stop),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_begin_worker if workers else None,
    )


def _begin_worker(_: int) -> None:
    """One thread; and deaf to signals meant for the whole process group, which the trainer answers for all."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
