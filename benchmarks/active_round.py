"""What a round of labelling gains: two more patients, chosen by `suggest`, against the control drawn at random.

    python benchmarks/active_round.py RUN --out OUT --cache CACHE [-n 2] [--seeds 0,1,2] [--draws 3] [--steps N]

RUN: a finished run on data that have masks for all, such as ACDC with 3 labelled patients.  Trains with the settings of
RUN for each seed: with the suggested patients' cases labelled too, and with those of each random draw; the same command
continues.  Prints Dice on test, whose masks neither choice sees.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from fewmask import job
from fewmask.audit import config_of
from fewmask.data.catalogue import read_catalogue
from fewmask.data.split_file import read_split, write_split
from fewmask.data.splits import check_split
from fewmask.label_audit import request_of
from fewmask.order import Order
from fewmask.runs import Run, atomic_write
from fewmask.suggest import suggest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("-n", "--count", type=int, default=2)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--steps", type=int)
    given = parser.parse_args()
    folder = Run(given.run)
    catalogue, split, config = read_catalogue(folder.catalogue), read_split(folder.split), config_of(folder)
    choices = {"gain": suggest(given.run, given.count)}
    choices |= {f"random {draw}": suggest(given.run, given.count, "random", draw) for draw in range(given.draws)}
    rows = [{"labelled": "before", "seed": config.train.seed, "patients": [], "dice": dice_of(folder)}]
    for name, suggested in choices.items():
        patients = [one.patient for one in suggested]
        added = [case for case in split.unlabelled if catalogue.by_id[case].patient in patients]
        roles = replace(
            split,
            labelled=(*split.labelled, *added),
            unlabelled=tuple(case for case in split.unlabelled if case not in added),
        )
        path = given.out / f"{name.replace(' ', '-')}.json"
        write_split(check_split(roles, catalogue), path)
        for seed in map(int, given.seeds.split(",")):
            train = config.train.model_copy(update={"seed": seed})
            request = request_of(config.model_copy(update={"train": train}), given.steps)
            order = Order(data=folder.catalogue, request=request, split=path, cache=given.cache, quiet=True)
            outcome = job.run(order, given.out / f"{path.stem}-{seed}")
            rows.append({"labelled": name, "seed": seed, "patients": patients, "dice": dice_of(outcome.run)})
            print(rows[-1], flush=True)
            atomic_write(given.out / "active_round.json", json.dumps(rows, indent=2) + "\n")
    for kind in ("before", "gain", "random"):
        dice = [row["dice"] for row in rows if row["labelled"].startswith(kind)]
        if not dice:  # --draws 0
            continue
        print(f"{kind:8} {np.mean(dice):.3f} ({min(dice):.3f} to {max(dice):.3f}, {len(dice)} runs)")


def dice_of(run: Run) -> float:
    """Mean Dice on test."""
    summary = json.loads((run.evaluation / "summary.json").read_text(encoding="utf-8"))
    return float(summary["dice"]["mean"])


if __name__ == "__main__":
    main()
