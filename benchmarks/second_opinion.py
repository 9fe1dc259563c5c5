"""What a rectifier is worth as a second opinion, on a run's val masks: Dice, confidence, what passes a threshold, and
whether the spread of several draws tells wrong voxels.

    python benchmarks/second_opinion.py RUN --cache CACHE

RUN: of `fewmask run --method diffrect`; CACHE: its cache folder.  On the prepared grid, from the last checkpoint; the
rectified label is of one draw, the spread of DRAWS.  Also predicts test natively with the segmenter and with the mean
of both, and scores it.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from scipy.stats import rankdata

from fewmask.audit import audited, config_of, variants
from fewmask.collection import predict
from fewmask.data.catalogue import read_catalogue
from fewmask.data.prepare import prepare
from fewmask.data.split_file import read_split
from fewmask.evaluation import evaluate
from fewmask.metrics import confusion, dice
from fewmask.order import preparation_for
from fewmask.predictors import save_model
from fewmask.predictors.largest_component import lesser_pieces
from fewmask.runs import Run

THRESHOLDS = (0.95, 0.8, 0.0)
DRAWS = 4
Volumes = list[np.ndarray]


def probabilities(run: Run, cache_folder: Path) -> tuple[Volumes, Volumes, Volumes, Volumes]:
    """Of each val volume: raw probabilities (K, D, H, W), those of one rectification and the mean of DRAWS, and the
    truth (D, H, W)."""
    catalogue, _, cases = audited(run, None)
    config = config_of(run)
    preparation = preparation_for(catalogue, config.plan)
    cache = prepare(catalogue, read_split(run.split), preparation, cache_folder, quiet=True)
    predictor = variants(run)["rectified"].predictor
    rectifier = predictor.rectification
    found: tuple[Volumes, Volumes, Volumes, Volumes] = ([], [], [], [])
    for number, case in enumerate(cases):
        image = torch.from_numpy(cache.normalised(case.id, config.plan.intensity, None)).transpose(0, 1).contiguous()
        with torch.no_grad():
            raw = predictor.segmenter(image).float().softmax(1)
            label = raw.argmax(1)
            generator, guidance = torch.Generator().manual_seed(number), predictor.guidance.expand(len(image))
            draws = []
            for _ in range(DRAWS):
                noise = torch.randn(rectifier.latent_shape(label.shape), generator=generator)
                draws.append(rectifier.sample(image, label, guidance, noise).float().softmax(1))
        for entries, array in zip(found, (raw, draws[0], torch.stack(draws).mean(0)), strict=False):
            entries.append(array.numpy().swapaxes(0, 1))
        found[3].append(np.asarray(cache.open(case.id).label))
    return found


def foreground_dice(label: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    return dice(confusion(label, truth, classes))[1:]


def largest_pieces(label: np.ndarray, classes: int) -> np.ndarray:
    """The label (D, H, W) with every voxel outside its class's largest piece of a slice as background."""
    lost = lesser_pieces(torch.from_numpy(label), classes).numpy()
    return np.where(lost, 0, label)


def area(score: np.ndarray, right: np.ndarray) -> float:
    """Area under the curve: how often a right voxel scores above a wrong one."""
    ranks, positive = rankdata(score), right.sum()
    return (ranks[right].sum() - positive * (positive + 1) / 2) / (positive * (len(right) - positive))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    run = Run(asked.run)
    raws, rectifieds, several, truths = probabilities(run, asked.cache)
    classes = len(raws[0])
    for name, share in (("raw", 0.0), ("rectified", 1.0), ("mean", 0.5)):
        labels = [((1 - share) * p + share * q).argmax(0) for p, q in zip(raws, rectifieds, strict=True)]
        scores = [foreground_dice(label, truth, classes) for label, truth in zip(labels, truths, strict=True)]
        print(f"Dice on val, {name}: {np.nanmean(np.nanmean(scores, axis=0)):.3f}")
    kept = [largest_pieces(p.argmax(0), classes) for p in raws]
    scores = [foreground_dice(label, truth, classes) for label, truth in zip(kept, truths, strict=True)]
    print(f"Dice on val, raw, largest pieces in each slice: {np.nanmean(np.nanmean(scores, axis=0)):.3f}")
    kinds = (raws, rectifieds, several)
    p, q, mean = (np.concatenate([volume.reshape(classes, -1) for volume in volumes], 1) for volumes in kinds)
    truth = np.concatenate([volume.ravel() for volume in truths])
    said = p.argmax(0)
    foreground = said > 0
    right = (truth == said)[foreground]
    of_said = np.take_along_axis(q, said[None], 0)[0]
    of_mean = np.take_along_axis(mean, said[None], 0)[0]
    confidences = {"segmenter": p.max(0), "rectifier": of_said, "both, product": p.max(0) * of_said}
    confidences |= {f"rectifier, {DRAWS} draws": of_mean, "draw against mean": -np.abs(q - mean).sum(0)}
    for name, score in confidences.items():
        score = score[foreground]
        surer = right[np.argsort(-score, kind="stable")[: len(score) // 2]].mean()
        print(f"raw foreground, confidence of {name}: area {area(score, right):.3f}, surer half right {surer:.3f}")
    differ, other = said != q.argmax(0), q.argmax(0)
    for name, label in (("raw", said), ("rectified", other)):
        print(f"where they differ {name} is right: {right_share(label, truth, differ)}")
    for name, mixed in (("raw", p), ("mean", (p + q) / 2)):
        label = mixed.argmax(0)
        for threshold in THRESHOLDS:
            keep = mixed.max(0) >= threshold
            learnt = keep & (label > 0)
            taught = [right_share(label, truth, truth == k, keep) for k in range(1, classes)]
            lost = [f"{(keep & (label == 0))[truth == k].mean():.3f}" for k in range(1, classes)]
            print(f"{name} over {threshold}: foreground kept {learnt.sum() / (label > 0).sum():.3f}", end=", ")
            print(f"right among it {right_share(label, truth, learnt)}", end=", ")
            print(f"true classes learnt as such {', '.join(taught)}, as background {', '.join(lost)}")
    catalogue, split = read_catalogue(run.catalogue), read_split(run.split)
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("raw", "rectified"):
            place = Path(scratch) / name
            save_model(variants(run)[name], place / "model")
            cases = [catalogue.by_id[case] for case in split.test]
            settings = config_of(run).predict
            predict(place / "model", [], place / "masks", cases=cases, settings=settings, device="cpu", quiet=True)
            found = evaluate(place / "masks", catalogue, place / "scores", list(split.test), split="test", quiet=True)
            print(f"test, predicted by {name}: Dice {found['dice']['mean']:.3f}")


def right_share(label: np.ndarray, truth: np.ndarray, where: np.ndarray, keep: np.ndarray | None = None) -> str:
    found = (label == truth) if keep is None else (label == truth) & keep
    return f"{found[where].mean():.3f}"


if __name__ == "__main__":
    main()
