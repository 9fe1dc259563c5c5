"""Does `audit-labels` find masks that were spoilt on purpose?  Ranks them among the good ones of a real data set.

    python benchmarks/planted_labels.py --data ../shared/data/acdc --out runs/planted [--labelled 10] [--share 0.2]
        [--seeds 0,1] [--steps 600]

Of the labelled cases that share is spoilt in turn: classes exchanged, moved by a tenth of the side, grown by a
thirtieth, one structure taken away (`noisy_labels.spoilt`).  Prints the rank of each planted case, and the area under
the ROC curve of suspicion and, as the control, of plain Dice with the fold's model.  Finished folds are kept.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from fewmask import api
from fewmask.data import formats
from fewmask.data.catalogue import Catalogue, open_catalogue
from fewmask.data.splits import choose_split
from fewmask.label_audit import audit_labels
from fewmask.metrics import confusion, dice
from noisy_labels import CPU, spoilt_data

SCORES = (("suspicion", 1), ("dice", -1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--labelled", default="10")
    parser.add_argument("--val", default="5")
    parser.add_argument("--share", type=float, default=0.2)
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--steps", type=int, default=600)
    given = parser.parse_args()
    catalogue = open_catalogue(given.data, quiet=True)
    split, _ = choose_split(catalogue, given.labelled, given.val)
    for seed in map(int, given.seeds.split(",")):
        data, run = given.out / f"data-{seed}", given.out / f"run-{seed}"
        spoilt_data(catalogue, split, "mixed", given.share, seed, data)
        few = (*CPU, f"train.seed={seed}", "train.steps=20")  # the folds learn, this run lends them its settings
        api.run(data, run, method="supervised", split=data / "split.json", settings=few, quiet=True)
        found = audit_labels(run, given.out / f"doubts-{seed}", steps=given.steps, quiet=True).suspects
        spoilt = open_catalogue(data, quiet=True)
        true = {case.id: case.label and case.label.resolve() for case in catalogue.cases}
        planted = {case.id for case in spoilt.cases if case.label and case.label.resolve() != true[case.id]}
        bad = np.array([one.case in planted for one in found])
        print(f"seed {seed}: {bad.sum()} of {len(found)} masks are spoilt")
        for rank, one in enumerate(found, 1):
            if one.case in planted:
                print(
                    f"  rank {rank:2}  {one.case}  Dice with the true mask {overlap(catalogue, spoilt, one.case):.2f}"
                    f"  {one.name}: Dice {one.dice:.2f} where {one.expected:.2f} is usual"
                )
        suspicion, dice = (np.array([getattr(one, key) for one in found]) for key in ("suspicion", "dice"))
        print(
            f"  area under the curve: suspicion {area(suspicion, bad):.3f}, 1 - Dice {area(-dice, bad):.3f}", flush=True
        )


def overlap(true: Catalogue, spoilt: Catalogue, case: str) -> float:
    """Mean Dice of the two masks over the foreground classes of the true one."""
    one, other = (
        formats.encode_mask(
            formats.read_mask(where.by_id[case].label, where.by_id[case].images[0], where.labels.colours)[0],
            where.labels,
            case,
        )
        for where in (true, spoilt)
    )
    found = dice(confusion(other, one, len(true.labels)))
    return float(found[1:][np.isin(np.arange(1, len(true.labels)), one)].mean())


def area(score: np.ndarray, bad: np.ndarray) -> float:
    """Share of pairs of a bad and a good mask in which the bad one has the higher score."""
    difference = score[bad][:, None] - score[~bad][None]
    return float(((difference > 0) + 0.5 * (difference == 0)).mean())


if __name__ == "__main__":
    main()
