"""What each of two networks that label for each other, and the mean of both, are worth on test, of one finished run.

    python benchmarks/two_networks.py RUN --out OUT

RUN: of `fewmask run` with --method cps or diff_cl; the mean of cps is the control for that of diff_cl, a plain
ensemble of two.  Writes OUT/<who>/{model,masks,evaluation}; the checkpoint is the last one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from fewmask.audit import variants
from fewmask.collection import predict
from fewmask.data.catalogue import read_catalogue
from fewmask.data.split_file import read_split
from fewmask.evaluation import evaluate
from fewmask.predictors import PREDICTORS, Predictor, build_predictor, save_model
from fewmask.runs import Run


class Mean(Predictor):
    """The mean of several predictors' probabilities."""

    def __init__(self, of: list[Predictor]) -> None:
        super().__init__()
        self.of = nn.ModuleList(of)
        self.stochastic = any(one.stochastic for one in of)

    @property
    def spec(self) -> dict[str, Any]:
        return {"predictor": "mean", "of": [one.spec for one in self.of]}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        return cls([build_predictor(one) for one in spec["of"]])

    def forward(self, image: Tensor, seed: Tensor) -> Tensor:
        return torch.stack([one(image, seed) for one in self.of]).mean(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    PREDICTORS["mean"] = Mean
    run = Run(given.run)
    catalogue, split, models = read_catalogue(run.catalogue), read_split(run.split), variants(run)
    first = next(iter(models.values()))
    models["mean"] = replace(first, predictor=Mean([model.predictor for model in models.values()]))
    cases = [catalogue.by_id[case] for case in split.test]
    for name, model in models.items():
        folder = given.out / name
        save_model(model, folder / "model")
        predict(folder / "model", [], folder / "masks", trust="none", cases=cases, quiet=True)
        evaluate(folder / "masks", catalogue, folder / "evaluation", split.test, split="test", quiet=True)
        found = json.loads((folder / "evaluation" / "summary.json").read_text(encoding="utf-8"))
        print(name, *(f"{key} {found[key]}" for key in ("dice", "hd95_mm", "hd95_voxel") if key in found))


if __name__ == "__main__":
    main()
