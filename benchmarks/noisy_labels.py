"""Dice against noise: a known share of masks, or of pseudo-labels, is spoilt, and methods learn from them all the same.

    python benchmarks/noisy_labels.py --data ../shared/data/cxr_devices --out runs/noisy --workers 2
    python benchmarks/noisy_labels.py --data ../shared/data/cxr_devices --out runs/noisy --table     (table and figure)

A spoilt mask has its classes exchanged (flip), is moved by a tenth of its side (shift), has its structures grown by a
thirtieth of it (dilate), one of them taken away (drop), or a class drawn at random in a quarter of the blocks that are
a 64th of the side, background included (blocks); `mixed` does the first four in turn.  `labels`: that share of the
labelled masks, once.  `pseudo`: that share of the images in every step, after the teacher has labelled them; its
confidence and its place among the prototypes stay as they were, which flatters methods that ask for agreement.  Masks
of val and test are never touched.  A finished cell is kept; the figure is OUT/noisy.svg.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy import ndimage
from torch import Tensor

from fewmask import api
from fewmask.data import formats
from fewmask.data.catalogue import Catalogue, open_catalogue, write_catalogue
from fewmask.data.split_file import write_split
from fewmask.data.splits import choose_split
from fewmask.methods import fixmatch, proto_diff
from fewmask.seeding import generator
from fewmask.types import Split

METHODS: dict[str, tuple[str, tuple[str, ...]]] = {
    "supervised": ("supervised", ()),
    "fixmatch": ("fixmatch", ()),
    "proto_diff": ("proto_diff", ()),
    "proto_diff, no prototypes": ("proto_diff", ("method.proto.weight=0", "method.gate.agreement=false")),
    "proto_diff, contrast": (
        "proto_diff",
        ("method.proto.compactness=0", "method.proto.consistency=0", "method.gate.agreement=false"),
    ),
    "proto_diff, and compactness": ("proto_diff", ("method.proto.consistency=0", "method.gate.agreement=false")),
    "proto_diff, and consistency": ("proto_diff", ("method.gate.agreement=false",)),
}
"""Name -> method and settings; from no prototypes on each adds a part, and `proto_diff` the agreement."""
USUAL = tuple(METHODS)[:4]
CPU = ("train.threads=1", "train.workers=0")
KINDS = ("flip", "shift", "dilate", "drop", "blocks")
MIXED = KINDS[:4]
MOVED, GROWN, BLOCKS = 10, 30, 64
"""A shift is the side over MOVED; structures grow by the side over GROWN; a block's side is the image's over BLOCKS."""
REPLACED = 0.25
"""Share of the blocks that are spoilt."""


def spoilt(mask: np.ndarray, kind: str, classes: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """mask (..., H, W) with an error of `kind`; classes: the foreground's values.  Other values stay where they are."""
    present = [value for value in classes if (mask == value).any()]
    if not present:
        return mask
    found = mask.copy()
    side = max(mask.shape[-2:])
    if kind == "flip":
        # a lone class becomes another one, several take each other's places
        others = [value for value in classes if value not in present]
        turned = [*present[1:], present[0]] if len(present) > 1 else [int(rng.choice(others))] if others else present
        for old, new in zip(present, turned, strict=True):
            found[mask == old] = new
    elif kind == "shift":
        angle = rng.uniform(0, 2 * np.pi)
        steps = (round(side / MOVED * np.sin(angle)), round(side / MOVED * np.cos(angle)))
        away = np.isin(mask, present)
        moved = ndimage.shift(np.where(away, mask, 0), (*[0] * (mask.ndim - 2), *steps), order=0, cval=0)
        found[away] = 0
        found = np.where(np.isin(moved, present) & np.isin(found, [0, *classes]), moved, found).astype(mask.dtype)
    elif kind == "dilate":
        radius = max(1, round(side / GROWN))
        for value in rng.permutation(present):
            grown = ndimage.distance_transform_edt(mask != value, sampling=_planewise(mask.ndim)) <= radius
            found[grown & (found == 0)] = value
    elif kind == "drop":
        found[mask == int(rng.choice(present))] = 0
    elif kind == "blocks":
        block = max(1, round(side / BLOCKS))
        grid = (*mask.shape[:-2], *(-(-length // block) for length in mask.shape[-2:]))
        drawn = np.where(rng.random(grid) < REPLACED, rng.choice([0, *classes], grid), -1)
        drawn = drawn.repeat(block, -1).repeat(block, -2)[..., : mask.shape[-2], : mask.shape[-1]]
        found = np.where((drawn >= 0) & np.isin(mask, [0, *classes]), drawn, mask).astype(mask.dtype)
    else:
        raise ValueError(f"kind {kind}: choose {', '.join(KINDS)}")
    return found


def _planewise(rank: int) -> tuple[float, ...]:
    """Distances that no neighbouring slice shortens."""
    return (*[1e9] * (rank - 2), 1.0, 1.0)


def spoilt_data(catalogue: Catalogue, split: Split, kind: str, share: float, seed: int, folder: Path) -> None:
    """`catalogue` in `folder`, with that share of the labelled masks spoilt, and split.json; a greater share spoils
    what a smaller one does."""
    ids = list(split.labelled_slices)
    order = generator(seed, "spoilt").permutation(len(ids))
    chosen = {ids[place]: turn for turn, place in enumerate(order[: round(share * len(ids))])}
    cases = []
    for case in catalogue.cases:
        if case.id in chosen:
            raw, grid = formats.read_mask(case.label, case.images[0], catalogue.labels.colours)
            rng = generator(seed, "spoilt", case.id)
            bad = spoilt(raw, _of(kind, chosen[case.id]), catalogue.labels.values[1:], rng)
            path = folder / "masks" / f"{case.id}{'.png' if grid.planar else '.nii.gz'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            formats.write_mask(path, bad, grid, case.images[0])
            case = replace(case, label=path)
        cases.append(case)
    write_split(split, folder / "split.json")
    write_catalogue(replace(catalogue, cases=tuple(cases)), folder, absolute=True)


def _of(kind: str, turn: int) -> str:
    return MIXED[turn % len(MIXED)] if kind == "mixed" else kind


def spoil_pseudo_labels(kind: str, share: float, classes: int, seed: int) -> None:
    """From here on, in this process, spoil that share of the images whose label a teacher makes."""
    rng = np.random.default_rng([seed, 5])

    def label(found: Tensor) -> Tensor:
        rows = found.cpu().numpy()
        for row in np.flatnonzero(rng.random(len(rows)) < share):
            rows[row] = spoilt(rows[row], _of(kind, int(rng.integers(len(MIXED)))), range(1, classes), rng)
        return torch.from_numpy(rows).to(found.device)

    confident, winner = fixmatch.confident, proto_diff.winner

    def noisy_confident(*given: object) -> tuple[Tensor, Tensor]:
        found, keep = confident(*given)
        return label(found), keep

    def noisy_winner(*given: object) -> tuple[Tensor, Tensor]:
        confidence, found = winner(*given)
        return confidence, label(found)

    fixmatch.confident, proto_diff.winner = noisy_confident, noisy_winner


def cell(asked: argparse.Namespace, where: str, share: float, method: str, seed: int) -> None:
    """Train, predict and evaluate one cell in its folder."""
    folder, data = _folder(asked, where, share, method, seed), _data(asked, where, share, seed)
    if where == "pseudo":
        spoil_pseudo_labels(asked.kind, share, len(open_catalogue(data).labels), seed)
    name, settings = METHODS[method]
    steps = (f"train.steps={asked.steps}", f"train.seed={seed}")
    api.run(data, folder, method=name, split=data / "split.json", settings=(*settings, *CPU, *steps), quiet=True)


def prepare_data(asked: argparse.Namespace, where: str, share: float, seed: int) -> None:
    """The catalogue that cells of this noise learn from, unless it is there; never by two cells at once."""
    data = _data(asked, where, share, seed)
    if not (data / "cases.csv").exists():
        catalogue = open_catalogue(asked.data, quiet=True)
        split, _ = choose_split(catalogue, asked.labelled, asked.val, asked.test)
        spoilt_data(catalogue, split, asked.kind, share if where == "labels" else 0.0, seed, data)


def _data(asked: argparse.Namespace, where: str, share: float, seed: int) -> Path:
    return asked.out / "data" / f"{asked.kind}-{share if where == 'labels' else 0.0}-{seed}"


def cells(asked: argparse.Namespace) -> list[tuple[str, float, str, int]]:
    """(where, share, method, seed); without noise both places are one, and `supervised` has no pseudo-labels."""
    return [
        (where, share, method, seed)
        for seed in asked.seeds
        for where in asked.where
        for share in asked.shares
        for method in asked.methods
        if (share > 0 or where == asked.where[0]) and not (where == "pseudo" and method == "supervised" and share > 0)
    ]


def _folder(asked: argparse.Namespace, where: str, share: float, method: str, seed: int) -> Path:
    name = method.replace(", ", "-").replace(" ", "-")
    return asked.out / f"{asked.kind}-{where if share else 'clean'}-{share:g}" / f"{name}-{seed}"


def results(asked: argparse.Namespace) -> dict[tuple[str, str], dict[float, list[float]]]:
    """(where, method) -> share -> test Dice of every finished seed."""
    found: dict[tuple[str, str], dict[float, list[float]]] = {}
    for where in asked.where:
        for method in asked.methods:
            for share in asked.shares:
                for seed in asked.seeds:
                    path = _folder(asked, where, share, method, seed) / "evaluation" / "summary.json"
                    if path.exists():
                        dice = json.loads(path.read_text())["dice"]["mean"]
                        found.setdefault((where, method), {}).setdefault(share, []).append(dice)
    return found


def table(asked: argparse.Namespace) -> str:
    """A row a method and place of noise: mean Dice over seeds at every share, and the range of several."""
    head = "| noise in | method | " + " | ".join(f"{share:.0%}" for share in asked.shares) + " |"
    rows = [head, "|" + "---|" * (head.count("|") - 1)]
    for (where, method), by_share in results(asked).items():
        entries = []
        for share in asked.shares:
            dice = by_share.get(share, [])
            spread = f" ({min(dice):.3f} to {max(dice):.3f})" if len(dice) > 1 else ""
            entries.append(f"{np.mean(dice):.3f}{spread}" if dice else "-")
        rows.append(f"| {where} | {method} | {' | '.join(entries)} |")
    return "\n".join(rows)


def figure(asked: argparse.Namespace, path: Path) -> None:
    """A panel a place of noise, a line a method, a dot a seed."""
    found = results(asked)
    picture = Figure(figsize=(4 * len(asked.where), 3), layout="constrained")
    panels = picture.subplots(1, len(asked.where), sharey=True, squeeze=False)[0]
    for panel, where in zip(panels, asked.where, strict=True):
        for number, method in enumerate(asked.methods):
            by_share = found.get((where, method), {})
            shares = sorted(by_share)
            panel.plot(shares, [np.mean(by_share[share]) for share in shares], color=f"C{number}", label=method)
            for share in shares:
                panel.plot([share] * len(by_share[share]), by_share[share], ".", color=f"C{number}")
        panel.set(xlabel=f"share of {where} spoilt ({asked.kind})", title=where)
    panels[0].set_ylabel("Dice on test")
    panels[0].legend(frameon=False)
    picture.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--labelled", help="as of `fewmask run`; by default the data set's own list")
    parser.add_argument("--val")
    parser.add_argument("--test")
    parser.add_argument("--kind", choices=(*KINDS, "mixed"), default="mixed")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(USUAL), metavar="NAME")
    parser.add_argument("--where", nargs="+", choices=("labels", "pseudo"), default=["labels", "pseudo"])
    parser.add_argument("--shares", nargs="+", type=float, default=[0.0, 0.25, 0.5])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="print the table of finished cells and draw the figure")
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.cell:
        cell(asked, *json.loads(asked.cell))
        return

    def work(item: tuple[str, float, str, int]) -> None:
        folder = _folder(asked, *item)
        folder.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, __file__, *sys.argv[1:], "--cell", json.dumps(item)]
        with open(folder.with_suffix(".log"), "w") as log:
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        print(f"{item}: exit {done.returncode}", file=sys.stderr)

    if not asked.table:
        todo = [item for item in cells(asked) if not (_folder(asked, *item) / "evaluation" / "summary.json").exists()]
        for where, share, _, seed in todo:
            prepare_data(asked, where, share, seed)
        with ThreadPoolExecutor(asked.workers) as pool:
            list(pool.map(work, todo))
    print(table(asked))
    figure(asked, asked.out / "noisy.svg")


if __name__ == "__main__":
    main()
