"""What each of Diff-CL's two networks and the mean of both are worth on test, of one finished run.

    python benchmarks/diff_cl_infer.py RUN --out OUT

RUN: of `fewmask run --method diff_cl`.  Writes OUT/<who>/{model,masks,evaluation}; the checkpoint is the last one.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from fewmask.audit import variants
from fewmask.collection import predict
from fewmask.data.catalogue import read_catalogue
from fewmask.data.split_file import read_split
from fewmask.evaluation import evaluate
from fewmask.predictors import DiffusionPredictor, save_model
from fewmask.runs import Run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    run = Run(given.run)
    catalogue, split, models = read_catalogue(run.catalogue), read_split(run.split), variants(run)
    convolutional, diffusion = (models[name].predictor for name in ("cnn", "diffusion"))
    spec = diffusion.spec
    both = DiffusionPredictor(
        diffusion.denoiser, spec["times"], spec["samples"], convolutional.segmenter, spec["scale"]
    )
    models["mean"] = replace(models["diffusion"], predictor=both)
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
