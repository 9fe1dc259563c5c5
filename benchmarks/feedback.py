"""What accepting rectified labels by feedback would be worth, were it to be had from other patients' masks.

    python benchmarks/feedback.py RUN [...]

RUN: with an audit.  For each patient and class takes the raw or the rectified label, whichever is better on average in
all other audited patients; beside it always raw, always rectified, and the better of the two in each single case, which
nobody can know.  Mean Dice over cases and classes.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import numpy as np

from fewmask.data.catalogue import read_catalogue
from fewmask.runs import Run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    print("| run | raw | rectified | class by class, as other patients tell | the better in each case |")
    print("|---|---|---|---|---|")
    for path in parser.parse_args().runs:
        run = Run(path)
        told = [fed_back(*pair) for pair in pairs(run).values()]
        print(f"| {path.name} | {' | '.join(f'{np.concatenate(one).mean():.3f}' for one in zip(*told, strict=True))} |")


def pairs(run: Run) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Of each class: patients (N,) and Dice (N, 2) of the cases' raw and rectified labels."""
    patients = {case.id: case.patient for case in read_catalogue(run.catalogue).cases}
    dice: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    with open(run.root / "audit" / "audit.csv", newline="") as file:
        for row in csv.DictReader(file):
            if row["variant"] in ("raw", "rectified") and row["dice"]:
                dice[row["class"]][row["case"]][row["variant"]] = float(row["dice"])
    found = {}
    for name, cases in dice.items():
        both = {case: (one["raw"], one["rectified"]) for case, one in cases.items() if len(one) == 2}
        found[name] = np.array([patients[case] for case in both]), np.array(list(both.values()))
    return found


def fed_back(patients: np.ndarray, dice: np.ndarray) -> tuple[np.ndarray, ...]:
    """Dice (N,) of the raw, the rectified, the accepted and the better label."""
    gain = dice[:, 1] - dice[:, 0]
    accepted = np.array([gain[patients != patient].mean() > 0 for patient in patients])
    return dice[:, 0], dice[:, 1], np.where(accepted, dice[:, 1], dice[:, 0]), dice.max(1)


if __name__ == "__main__":
    main()
