"""Masks of the unlabelled cases, which are what a user with a collection wants: Dice of each method, and its gain.

    python benchmarks/unlabelled.py --reference DATA --out OUT NAME=RUN[,RUN...] NAME=RUN[,RUN...] ...

DATA has the masks that training did not see; every name has a run of the same seeds in the same order.  `--classes A,B`
counts these alone.  Gains over the first name are paired by patient and run; the interval is over patients and runs,
both drawn, the p over patients alone.  Nothing is to be chosen by this table: a user has no such masks.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from fewmask.data.split_file import read_split
from fewmask.dice_table import read_dice
from fewmask.evaluation import evaluate
from fewmask.runs import Run
from fewmask.statistics import class_mean, draw, paired_wilcoxon, percentile_interval, repeated_mean, resampled_means


def scores(folder: Path, reference: Path, out: Path, classes: list[str]) -> tuple[np.ndarray, list[str]]:
    """Dice (N, classes) of the unlabelled cases of a run, in order of their names, and the patient of each; of pictures
    that pooled over each patient or sequence.  classes: names, none for all but background."""
    run = Run(folder)
    cases = sorted(read_split(run.split).unlabelled)
    evaluate(run.predictions, reference, out, cases, split="unlabelled", protocol="voxel", quiet=True)
    pooled = out / "groups.csv"
    table = read_dice(pooled if pooled.exists() else out / "metrics.csv")
    rows = sorted(table.rows)
    patients = dict(zip(table.rows, table.patients, strict=True))
    columns = [table.classes.index(name) for name in classes or table.classes]
    return table.of(rows)[:, columns], [patients[row] for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", nargs="+", metavar="NAME=RUN,...")
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--classes", type=lambda names: names.split(","), default=[])
    asked = parser.parse_args()
    means, patients = {}, []
    for cell in asked.cells:
        name, _, runs = cell.partition("=")
        each = []
        for number, run in enumerate(runs.split(",")):
            dice, patients = scores(Path(run), asked.reference, asked.out / f"{name}-{number}", asked.classes)
            each.append(dice)
        means[name] = np.stack(each)
    base = next(iter(means))
    print(f"| | runs | Dice, {len(set(patients))} patients | of each run | gain over {base} [95 %], p |")
    print("|---|---|---|---|---|")
    for name, dice in means.items():
        gain = ""
        if name != base:
            more = dice - means[base]
            draws = draw(len(set(patients)), range(len(more)))
            gain = f"{repeated_mean(more):+.3f}"
            interval = percentile_interval(resampled_means(more, patients, draws))
            p = paired_wilcoxon(np.nanmean(means[base], (0, 2)), np.nanmean(dice, (0, 2)), patients)
            if interval is not None and p is not None:  # of a few sequences there is neither
                gain += f" [{interval[0]:+.3f}, {interval[1]:+.3f}], {p:.1g}"
        each = ", ".join(f"{class_mean(run):.3f}" for run in dice)
        print(f"| {name} | {len(dice)} | {repeated_mean(dice):.3f} | {each} | {gain} |")


if __name__ == "__main__":
    main()
