"""Run a named grid of cells with `fewmask run` and print its table in Markdown; finished cells are kept.

    python benchmarks/grid.py acdc-cpu --data ../shared/data --out runs
    python benchmarks/grid.py acdc-cpu --data ../shared/data --out runs --table        (only the table of what is done)
    python benchmarks/grid.py acdc-diffrect --data ../shared/data --out runs --audits (only that of the audits)
    python benchmarks/grid.py acdc-exemplar --data ../shared/data --out runs --beside acdc-exemplar-062 (in columns)
    python benchmarks/grid.py acdc-cpu --data ../shared/data --out runs --curves FILE  (Dice on val over time, as CSV)

A cell of a CPU grid is one process of one thread; --workers 2 fills two cores.  On a GPU: acdc-paper --workers 1.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fewmask.dice_table import read_dice
from fewmask.statistics import bootstrap_interval, paired_wilcoxon


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A comparison at equal steps: `cells` are name -> arguments of `fewmask run` beside those that all share."""

    data: str
    steps: int
    seeds: tuple[int, ...]
    shared: tuple[str, ...]
    cells: dict[str, tuple[str, ...]] = field(default_factory=dict)


UNHEARD = "method.rectified_share.peak=0"
"""The rectifier learns and is audited, its labels are not learnt from: the segmentation network is the same."""
NO_COARSE = "method.coarse_loss.peak=0"
"""The rectifier learns from labelled images alone: a third cheaper, and in short trainings its labels are better."""
NO_MODULE, NO_CONTRAST = ("method.module.levels=[]",), ("method.propagation.weight=0",)
FOUR_STEPS = "method.diffusion.samples=4"
"""Sampler steps of Diff-CL's labels: the default until its ladder was measured."""
EARLY = ("method.rectified_share.start=0.2", "method.rectified_share.length=0.4")
"""Rectified labels count from a fifth of the second stage on: the default until its cost was measured."""
DIFFRECT = {
    "supervised": ("--method", "supervised"),
    "fixmatch": ("--method", "fixmatch"),
    "diffrect, plain network": ("--method", "diffrect", "method.diffuse=false"),
    "diffrect": ("--method", "diffrect"),
    "diffrect, released": ("--method", "diffrect", "method.preset=released", "method.width=8"),
}
CALIBRATED = ("--method", "caudo_diff", "--steps", "2600")
"""Of 2,600 steps 1,500 are the segmenter's, as many as the other cells have; the rest trains what calibrates."""
ONE_BANK = (
    "method.budget.warm_up=24",
    "method.blind=0.25",
    "method.budget.calibrator=12",
    "method.budget.rounds=1",
    "method.budget.tune=0.5",
    "method.budget.train=0.5",
)
"""Nearly all of the segmenter's steps before the calibrator's, and one bank."""
NARROW = ("method.segmenter.width=8", "method.width=8")
"""The 2-D tier's networks until width 16 took their place."""
LISTS = Path(__file__).parent / "lists"
VOCALFOLDS = (
    *("--labelled", str(LISTS / "vocalfolds-labelled.txt")),
    *("--val", str(LISTS / "vocalfolds-val.txt")),
    *("--test", str(LISTS / "vocalfolds-test.txt")),
)
PROTO = ("--method", "proto_diff")
ANCHORS = {
    "supervised": ("--method", "supervised"),
    "mean_teacher": ("--method", "mean_teacher"),
    "fixmatch": ("--method", "fixmatch"),
    "proto_diff": PROTO,
    "proto_diff, plain network": (*PROTO, "method.diffuse=false"),
    "proto_diff, no prototypes": (*PROTO, "method.proto.weight=0", "method.gate.agreement=false"),
    "proto_diff, no agreement": (*PROTO, "method.gate.agreement=false"),
}
"""proto_diff, its controls and the baselines; what its auxiliary head says stands in the audits."""
CPU = ("train.threads=1", "train.workers=0")


def exemplar_grid(exemplar: str, more: dict[str, tuple[str, ...]] | None = None) -> Grid:
    """What one labelled case or slice is worth: alone, with synthesis, with self-training, with calibrated labels."""
    return Grid(
        data="acdc",
        steps=1500,
        seeds=(0,),
        shared=("--exemplar", exemplar, "--val", "10", *CPU),
        cells={
            "supervised": ("--method", "supervised"),
            "synthesis": ("--method", "caudo_diff", "method.labels=none"),
            "self-training": ("--method", "caudo_diff", "method.labels=raw"),
            "self-training on all": ("--method", "caudo_diff", "method.labels=raw", "method.trust.confidence=0"),
            "caudo_diff": CALIBRATED,
            **(more or {}),
        },
    )


GRIDS = {
    "acdc-exemplar": exemplar_grid(
        "patient099",
        {
            "one_step": (*CALIBRATED, "method.calibrator.variant=one_step"),
            "bridge": (*CALIBRATED, "method.calibrator.variant=bridge"),
            "four calls": (*CALIBRATED, "method.calibrator.samples=4"),
            "fixmatch": ("--method", "fixmatch"),
        },
    ),
    "acdc-exemplar-062": exemplar_grid("patient062"),
    "acdc-exemplar-095": exemplar_grid("patient095"),
    "acdc-exemplar-slice": exemplar_grid("patient099_frame01:1"),
    "acdc-calibrators": Grid(  # one bank of a segmenter that has learnt 1,200 steps: its gain, by calibration.py rounds
        data="acdc",
        steps=2275,
        seeds=(0,),
        shared=("--exemplar", "patient099", "--val", "10", "--method", "caudo_diff", *ONE_BANK, *CPU),
        cells={
            "ddim": (),
            "one_step": ("method.calibrator.variant=one_step",),
            "bridge": ("method.calibrator.variant=bridge",),
            "ddim, start from noise alone": ("method.calibrator.start=1",),
            "ddim, start late": ("method.calibrator.start=0.3",),
            "ddim, errors by hand alone": ("method.calibrator.network_errors=0",),
            "ddim, errors of the network alone": ("method.calibrator.network_errors=0.9",),
            "ddim, pairs as they come": ("method.calibrator.matching=false",),
            "ddim, latent of a quarter": (
                "method.autoencoder.halvings=2",
                "method.autoencoder.gate=0.8",
                "method.calibrator.width=32",
            ),
        },
    ),
    "acdc-synthesis": Grid(  # what parts of synthesis are worth
        data="acdc",
        steps=1500,
        seeds=(0,),
        shared=("--exemplar", "patient099", "--val", "10", "--method", "caudo_diff", "method.labels=none", *CPU),
        cells={
            "as it is": (),
            "no pasting": ("method.synthesis.paste=0",),
            "a centred box ignored": ("method.synthesis.box=0.375",),
            "no classes taken out": ("method.synthesis.one_missing=0", "method.synthesis.all_missing=0"),
            "no amplitudes exchanged": ("method.synthesis.fourier=0",),
            "no brightness by class": ("method.synthesis.offset=0",),
            "no deformation": ("method.synthesis.elastic=[0,0]", "method.synthesis.shear=0"),
        },
    ),
    "hippocampus-exemplar": Grid(
        data="Task04_Hippocampus",
        steps=1500,
        seeds=(0,),
        shared=("--recipe", "hippocampus-1", "--recipe", "cpu", "plan.size=[40,56,40]", *CPU),  # one window a case
        cells={
            "supervised": ("--method", "supervised"),
            "synthesis": ("--method", "caudo_diff", "method.labels=none"),
            "self-training": ("--method", "caudo_diff", "method.labels=raw"),
            "caudo_diff": (*CALIBRATED, "method.calibrator.batch=4"),
        },
    ),
    "acdc-exemplar-paper": Grid(  # for a GPU: --workers 1
        data="acdc",
        steps=31_000,
        seeds=(0, 1, 2),
        shared=("--exemplar", "patient099", "--val", "10", "--device", "cuda"),
        cells={
            "supervised": ("--recipe", "paper", "--method", "supervised"),
            "fixmatch": ("--recipe", "paper", "--method", "fixmatch"),
            "synthesis": ("--recipe", "caudo_diff-full", "method.labels=none"),
            "self-training": ("--recipe", "caudo_diff-full", "method.labels=raw"),
            "caudo_diff": ("--recipe", "caudo_diff-full", "--steps", "82000", "method.calibrator.samples=10"),
            "one_step": ("--recipe", "caudo_diff-full", "--steps", "82000", "method.calibrator.variant=one_step"),
            "bridge": (
                "--recipe",
                "caudo_diff-full",
                "--steps",
                "82000",
                "method.calibrator.variant=bridge",
                "method.calibrator.samples=10",
            ),
        },
    ),
    "acdc-cpu": Grid(
        data="acdc",
        steps=3000,
        seeds=(0, 1, 2),
        shared=("--labelled", "3", "--val", "10", *CPU),
        cells={
            "supervised": ("--method", "supervised"),
            "mean_teacher": ("--method", "mean_teacher"),
            "fixmatch, no CutMix": ("--method", "fixmatch", "method.cutmix=0"),
            "fixmatch": ("--method", "fixmatch"),
        },
    ),
    "acdc-diffrect": Grid(
        data="acdc",
        steps=2000,
        seeds=(1, 2),  # what is compared was chosen on seed 0, the late start also by val's curves of these
        shared=("--labelled", "3", "--val", "10", *CPU),
        cells={
            **DIFFRECT,
            "diffrect, early": (*DIFFRECT["diffrect"], *EARLY),
            "diffrect, plain network, early": (*DIFFRECT["diffrect, plain network"], *EARLY),
        },
    ),
    "acdc-diffrect-finals": Grid(  # three times as long, for what is level after 2,000 steps
        data="acdc",
        steps=6000,
        seeds=(1, 2),
        shared=("--labelled", "3", "--val", "10", *CPU),
        cells={name: DIFFRECT[name] for name in ("fixmatch", "diffrect, plain network", "diffrect")},
    ),
    "acdc-diffrect-1": Grid(  # one labelled patient; which one decides as much as the method does
        data="acdc",
        steps=2000,
        seeds=(0,),
        shared=("--val", "10", *CPU),
        cells={
            f"{cell}, {patient}": ("--labelled", str(LISTS / f"acdc-{patient}.txt"), *own)
            for patient in ("patient099", "patient038")
            for cell, own in DIFFRECT.items()
        },
    ),
    "acdc-diffrect-narrow": Grid(  # networks of half the width: what was measured first
        data="acdc",
        steps=3000,
        seeds=(1, 2),
        shared=("--labelled", "3", "--val", "10", "method.segmenter.width=8", "method.labelled_batch=12", *CPU),
        cells={
            "supervised": ("--method", "supervised"),
            "fixmatch": ("--method", "fixmatch"),
            "diffrect": ("--method", "diffrect", "method.width=8", *EARLY),
            "diffrect, no coarse": ("--method", "diffrect", "method.width=8", *EARLY, NO_COARSE),
        },
    ),
    "acdc-diffrect-flags": Grid(
        data="acdc",
        steps=2000,
        seeds=(0,),
        shared=("--labelled", "3", "--val", "10", "--method", "diffrect", *NARROW, *CPU),
        cells={
            "corrected": (UNHEARD,),
            "plain network": (UNHEARD, "method.diffuse=false"),
            "no coarse": (UNHEARD, NO_COARSE),
            "no coarse, plain network": (UNHEARD, NO_COARSE, "method.diffuse=false"),
            "no coarse, condition at the last skip": (UNHEARD, NO_COARSE, "method.entrance=last_skip"),
            "no coarse, latents as they are": (UNHEARD, NO_COARSE, "method.standardise=false"),
            "no coarse, clamped latents": (UNHEARD, NO_COARSE, "method.clamp=true"),
            "no coarse, skips with the label": (UNHEARD, NO_COARSE, "method.skips=label"),
            "no coarse, a channel a class": (UNHEARD, NO_COARSE, "method.colours=false"),
            "no coarse, from the raw label": (UNHEARD, NO_COARSE, "method.start=0.6"),
            "mean of both": (*EARLY, NO_COARSE),
            "mean of both, threshold 0.8": (*EARLY, NO_COARSE, "method.threshold=0.8"),
            "mean of both, ratio rule": (*EARLY, NO_COARSE, "method.confidence=ratio", "method.threshold=0.8"),
            "mean of both, doubt is background": (*EARLY, NO_COARSE, "method.uncertain=background"),
            "released": ("method.preset=released",),
        },
    ),
    "acdc-paper": Grid(  # for a GPU: --workers 1
        data="acdc",
        steps=30_000,
        seeds=(0, 1, 2),
        shared=("--recipe", "acdc-1", "--device", "cuda"),
        cells={
            "supervised": ("--recipe", "paper", "--method", "supervised"),
            "fixmatch": ("--recipe", "paper", "--method", "fixmatch"),
            "diffrect, plain network": ("--recipe", "paper", "--method", "diffrect", "method.diffuse=false"),
            "diffrect": ("--recipe", "paper", "--method", "diffrect"),
            "diffrect, rectifier of width 16": ("--recipe", "paper", "--method", "diffrect", "method.width=16"),
            "diffrect, published": ("--recipe", "diffrect-published"),
        },
    ),
    "hippocampus-cpu": Grid(
        data="Task04_Hippocampus",
        steps=1500,
        seeds=(0,),
        shared=("--labelled", "8", "--val", "20", "--test", "40", *CPU),
        cells={"supervised": ("--method", "supervised"), "mean_teacher": ("--method", "mean_teacher")},
    ),
    "hippocampus-diff-cl": Grid(  # the ladder: is diffusion better than a second V-Net, and does each part help?
        data="Task04_Hippocampus",
        steps=1500,
        seeds=(0, 1),
        shared=("--recipe", "hippocampus", "--recipe", "cpu", *CPU),
        cells={
            "supervised": ("--method", "supervised"),
            "cps": ("--method", "cps"),
            "cps, averaged labels": ("--method", "cps", "method.labels=averaged"),
            "two networks": ("--method", "diff_cl", *NO_MODULE, *NO_CONTRAST, FOUR_STEPS),
            "two networks, plain": ("--method", "diff_cl", *NO_MODULE, *NO_CONTRAST, "method.diffuse=false"),
            "with module": ("--method", "diff_cl", *NO_CONTRAST, FOUR_STEPS),
            "with contrast": ("--method", "diff_cl", *NO_MODULE, FOUR_STEPS),
            "whole": ("--method", "diff_cl", FOUR_STEPS),
            "whole, no guard": ("--method", "diff_cl", FOUR_STEPS, "method.diffusion.guard=all"),
            "two networks, one sampler step": ("--method", "diff_cl", *NO_MODULE, *NO_CONTRAST),
            "whole, one sampler step": ("--method", "diff_cl"),
        },
    ),
    "la-half": Grid(
        data="la2018",
        steps=1500,
        seeds=(0,),
        shared=("--recipe", "la-4", "--recipe", "cpu-half", *CPU),
        cells={
            "supervised": ("--method", "supervised"),
            "cps": ("--method", "cps"),
            "whole": ("--method", "diff_cl", FOUR_STEPS),
        },
    ),
    "la-paper": Grid(  # for a GPU: --workers 1
        data="la2018",
        steps=15_000,
        seeds=(0, 1, 2),
        shared=("--recipe", "la-8", "--recipe", "paper", "--device", "cuda"),
        cells={method: ("--method", method) for method in ("supervised", "cps", "diff_cl")},
    ),
    "vocalfolds-proto": Grid(
        data="vocalfolds",
        steps=1000,
        seeds=(0, 1),
        shared=(*VOCALFOLDS, "plan.flip=[1]", *CPU),  # a larynx has no left and right
        cells=ANCHORS,
    ),
    "cxr-proto": Grid(
        data="cxr_devices",
        steps=1000,
        seeds=(0, 1),
        shared=CPU,
        cells=ANCHORS,
    ),
    "planar-cpu": Grid(
        data="",
        steps=3000,
        seeds=(0,),
        shared=("--method", "supervised", *CPU),
        cells={
            "vocalfolds": ("vocalfolds", *VOCALFOLDS),
            "cxr_devices": ("cxr_devices",),
        },
    ),
}


def arguments(grid: Grid, cell: str, seed: int, data: Path, out: Path) -> list[str]:
    """The command of one cell."""
    own = list(grid.cells[cell])
    folder = data / (grid.data or own.pop(0))
    return [
        *("run", str(folder), "--out", str(out), "--cache", str(out.parent / "cache")),
        *("--steps", str(grid.steps), "--seed", str(seed), *grid.shared, *own),
    ]


def folder_of(out: Path, grid: str, cell: str, seed: int) -> Path:
    return out / grid / f"{cell.replace(', ', '-').replace(' ', '-').lower()}-{seed}"


def run(command: list[str], log: Path) -> int:
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with open(log, "w") as file:
        return subprocess.run(
            [sys.executable, "-m", "fewmask", *command], stdout=file, stderr=subprocess.STDOUT, env=environment
        ).returncode


def table(name: str, out: Path) -> str:
    """One row a finished cell: test Dice of the val-chosen checkpoint with interval, of the last one, and more."""
    grid = GRIDS[name]
    head = "| cell | seed | Dice [95 %] | IoU | Dice per class | distance | last checkpoint | val | minutes | commit |"
    rows = [head, "|" + "---|" * (head.count("|") - 1)]
    for cell in grid.cells:
        for seed in grid.seeds:
            folder = folder_of(out, name, cell, seed)
            if not (folder / "evaluation" / "summary.json").exists():
                continue
            found = json.loads((folder / "evaluation" / "summary.json").read_text())
            last = folder / "evaluation" / "last" / "summary.json"
            val = folder / "evaluation" / "val" / "summary.json"
            log = (folder / "log.jsonl").read_text().splitlines()
            unit = "mm" if found["protocol"] == "mm" else "voxel"
            distance = found.get(f"hd95_{unit}")
            entries = [
                cell,
                str(seed),
                _interval(found["dice"]),
                _number(found["iou"]["mean"]),
                ", ".join(f"{k} {_number(v['dice']['mean'])}" for k, v in found["per_class"].items()),
                f"{_interval(distance, 1)} {unit}" if distance else "-",
                _mean(last),
                _mean(val),
                f"{json.loads(log[-1])['seconds'] / 60:.0f}",
                _commit(folder),
            ]
            rows.append(f"| {' | '.join(entries)} |")
    return "\n".join(rows)


def summary(name: str, out: Path) -> str:
    """One row a cell: mean and range over seeds, and the difference from `supervised` with the same seed, paired.

    Its interval and p are over patients, of the mean over the seeds that both have.
    """
    grid = GRIDS[name]
    dice = {
        cell: {seed: found for seed in grid.seeds if (found := _dice(folder_of(out, name, cell, seed))) is not None}
        for cell in grid.cells
    }
    head = "| cell | seeds | Dice, mean (least to most) | minus supervised, seed by seed | on average [95 %], p |"
    rows = [head, "|" + "---|" * (head.count("|") - 1)]
    for cell, found in dice.items():
        if not found:
            continue
        values = list(found.values())
        spread = f"{sum(values) / len(values):.3f} ({min(values):.3f} to {max(values):.3f})"
        shared = [seed for seed in found if cell != "supervised" and seed in dice.get("supervised", {})]
        apart = ", ".join(f"{found[seed] - dice['supervised'][seed]:+.3f}" for seed in shared)
        rows.append(f"| {cell} | {len(values)} | {spread} | {apart or '-'} | {_paired(name, out, cell, shared)} |")
    return "\n".join(rows)


def _paired(name: str, out: Path, cell: str, seeds: Sequence[int]) -> str:
    """Mean difference from `supervised` over cases and classes, its interval over patients and Wilcoxon's p."""
    if not seeds:
        return "-"
    pairs = [
        [read_dice(folder_of(out, name, kind, seed) / "evaluation" / "metrics.csv") for kind in (cell, "supervised")]
        for seed in seeds
    ]
    first = pairs[0][0]
    difference = np.mean([ours.of(first.rows) - theirs.of(first.rows) for ours, theirs in pairs], axis=0)
    found = bootstrap_interval(difference, first.patients)
    p = paired_wilcoxon(np.zeros(len(difference)), np.nanmean(difference, axis=1), first.patients)
    return f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}], {'-' if p is None else f'{p:.3f}'}"


def _dice(folder: Path) -> float | None:
    path = folder / "evaluation" / "summary.json"
    return json.loads(path.read_text())["dice"]["mean"] if path.exists() else None


def beside(names: Sequence[str], out: Path) -> str:
    """One row a cell, a column a grid: Dice and distance on test, mean over seeds; then mean and worst over grids."""
    rows = [f"| cell | {' | '.join(names)} | mean | worst |", "|" + "---|" * (len(names) + 3)]
    for cell in GRIDS[names[0]].cells:
        found = [_scores(name, out, cell) for name in names]
        if not any(found):
            continue
        told = [_both(*one) if one else "-" for one in found]
        if all(found):
            dice, distance = zip(*(one for one in found if one), strict=True)
            told += [_both(float(np.mean(dice)), float(np.mean(distance))), _both(min(dice), max(distance))]
        else:
            told += ["-", "-"]
        rows.append(f"| {cell} | {' | '.join(told)} |")
    return "\n".join(rows)


def _scores(name: str, out: Path, cell: str) -> tuple[float, float] | None:
    """Mean Dice and HD95 over the seeds that are finished."""
    found = []
    for seed in GRIDS[name].seeds if cell in GRIDS[name].cells else ():
        path = folder_of(out, name, cell, seed) / "evaluation" / "summary.json"
        if path.exists():
            told = json.loads(path.read_text())
            distance = told["hd95_mm" if told["protocol"] == "mm" else "hd95_voxel"]
            found.append((told["dice"]["mean"], distance["mean"]))
    return None if not found else (float(np.mean([d for d, _ in found])), float(np.mean([h for _, h in found])))


def _both(dice: float, distance: float) -> str:
    return f"{dice:.3f}, {distance:.1f}"


def audits(name: str, out: Path) -> str:
    """One row a finished cell with an audit: Dice of pseudo-labels on val before and after, and of the controls."""
    grid = GRIDS[name]
    head = "| cell | seed | before | after | difference [95 %], p | controls | val | commit |"
    rows = [head, "|" + "---|" * (head.count("|") - 1)]
    for cell in grid.cells:
        for seed in grid.seeds:
            folder = folder_of(out, name, cell, seed)
            if not (folder / "audit" / "audit.json").exists():
                continue
            found = json.loads((folder / "audit" / "audit.json").read_text())
            before, after = found["pair"]
            difference = found["differences"][f"{after} - {before}"]
            controls = [f"{k} {_number(v['mean'])}" for k, v in found["dice"].items() if k not in (before, after)]
            low, mean, high, p = (difference[key] for key in ("low", "mean", "high", "p"))
            entries = [
                cell,
                str(seed),
                _number(found["dice"][before]["mean"]),
                _number(found["dice"][after]["mean"]),
                f"{mean:+.3f}" + ("" if low is None else f" [{low:+.3f}, {high:+.3f}]") + f", {_number(p)}",
                ", ".join(controls) or "-",
                _mean(folder / "evaluation" / "val" / "summary.json"),
                _commit(folder),
            ]
            rows.append(f"| {' | '.join(entries)} |")
    return "\n".join(rows)


def _commit(folder: Path) -> str:
    return (json.loads((folder / "environment.json").read_text())["git_commit"] or "?")[:7]


def curves(name: str, out: Path) -> str:
    """cell, seed, step, Dice on val, Dice on val of the pseudo-labels; one row a validation."""
    grid = GRIDS[name]
    rows = ["cell,seed,step,val,pseudo"]
    for cell in grid.cells:
        for seed in grid.seeds:
            log = folder_of(out, name, cell, seed) / "log.jsonl"
            for line in map(json.loads, log.read_text().splitlines() if log.exists() else []):
                if line.get("val"):
                    pseudo = line["val"].get("pseudo", {}).get("raw")
                    told = "" if pseudo is None else f"{pseudo:.4f}"
                    rows.append(f'"{cell}",{seed},{line["step"]},{line["val"]["dice"]:.4f},{told}')
    return "\n".join(rows) + "\n"


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _interval(value: dict, digits: int = 3) -> str:
    if value["low"] is None:
        return _number(value["mean"], digits)
    return f"{_number(value['mean'], digits)} [{_number(value['low'], digits)}, {_number(value['high'], digits)}]"


def _mean(path: Path) -> str:
    return _number(json.loads(path.read_text())["dice"]["mean"]) if path.exists() else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grid", choices=GRIDS)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the data sets")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="print the table of finished cells and run nothing")
    parser.add_argument("--audits", action="store_true", help="print the audits of finished cells and run nothing")
    parser.add_argument("--curves", type=Path, help="write the curves of what is there to this file and run nothing")
    parser.add_argument("--beside", nargs="+", choices=GRIDS, help="print Dice and distance of these grids in columns")
    asked = parser.parse_args()
    grid = GRIDS[asked.grid]
    if asked.beside:
        print(beside([asked.grid, *asked.beside], asked.out))
        return
    if asked.curves:
        asked.curves.write_text(curves(asked.grid, asked.out))
        return
    if asked.audits:
        print(audits(asked.grid, asked.out))
        return
    if not asked.table:
        cells = [(cell, seed) for seed in grid.seeds for cell in grid.cells]

        def work(item: tuple[str, int]) -> None:
            folder = folder_of(asked.out, asked.grid, *item)
            status = run(arguments(grid, *item, asked.data, folder), folder.with_suffix(".log"))
            print(f"{item[0]}, seed {item[1]}: exit {status}", file=sys.stderr)

        with ThreadPoolExecutor(asked.workers) as pool:
            list(pool.map(work, cells))
    print(table(asked.grid, asked.out))
    print()
    print(summary(asked.grid, asked.out))


if __name__ == "__main__":
    main()
