"""What Caudo-Diff's calibration does to pseudo-labels, measured with masks that training did not see.

    python benchmarks/calibration.py rounds RUN        each round's bank on the unlabelled cases, before and after
    python benchmarks/calibration.py probe RUN         the last calibrator on val: steps, guides, ceilings, reliability

`rounds` reads RUN/pseudo/*/CASE.npz and the masks that the run's catalogue knows; `probe` the last checkpoint, in 2-D.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn.functional import interpolate

from fewmask import metrics
from fewmask.audit import config_of, variants
from fewmask.data import formats
from fewmask.data.catalogue import Catalogue, read_catalogue
from fewmask.data.conform import prepare_label, prepared_geometry
from fewmask.data.prepare import prepare
from fewmask.data.split_file import read_split
from fewmask.diffusion.calibration import Guides, gated
from fewmask.diffusion.fusion import blend
from fewmask.nets.guide import features_of
from fewmask.order import preparation_for
from fewmask.predictors import CalibratedPredictor
from fewmask.runs import Run
from fewmask.statistics import bootstrap_interval, class_mean


def dice(label: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """(K - 1,), NaN where neither has the class; what `truth` marks as ignored does not count."""
    return metrics.dice(metrics.confusion(label, truth, classes, truth != np.iinfo(truth.dtype).max))[1:]


def truth_of(catalogue: Catalogue, case_id: str, run: Run) -> np.ndarray:
    """The mask (D, H, W) of a case on its prepared grid."""
    case = catalogue.by_id[case_id]
    preparation = preparation_for(catalogue, config_of(run).plan)
    raw, _ = formats.read_mask(case.label, case.images[0])
    turn, grid = prepared_geometry(formats.read_header(case.images[0]).grid, preparation)
    return prepare_label(formats.encode_mask(raw, catalogue.labels, case.id), turn, grid)


def told(differences: np.ndarray, patients: list[str]) -> str:
    found = bootstrap_interval(differences, patients)
    if found.low is None:
        return f"{found.mean:+.3f}"
    return f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def rounds(run: Run) -> None:
    """T5, T13 and T15: gain, spoilt cases, flips, and whether agreement tells good labels from bad; then `shapes`."""
    catalogue = read_catalogue(run.catalogue)
    names = catalogue.labels.names
    split = read_split(run.split)
    truths = {case: truth_of(catalogue, case, run) for case in split.unlabelled if catalogue.by_id[case].label}
    patients = [catalogue.by_id[case].patient for case in truths]
    head = "| round | before | after | difference [95 %] | per class | cases worse by > 0.02 | flips right, wrong | "
    head += "agreement and Dice | seconds |"
    print(head)
    print("|" + "---|" * (head.count("|") - 1))
    for folder in sorted(run.pseudo.iterdir(), key=lambda path: int(path.name)):
        before, after, agreed, flips = [], [], [], np.zeros(2, int)
        for case, truth in truths.items():
            with np.load(folder / f"{case}.npz") as file:
                raw, label, kappa = file["raw"], file["label"], float(file["info_agreement"])
            before.append(dice(raw, truth, len(names)))
            after.append(dice(label, truth, len(names)))
            agreed.append(kappa)
            flips += [((raw != truth) & (label == truth)).sum(), ((raw == truth) & (label != truth)).sum()]
        gain = np.array(after) - np.array(before)
        by_case = np.nanmean(gain, axis=1)
        times = sorted(path.stat().st_mtime for path in folder.iterdir())
        rows = [
            folder.name,
            f"{class_mean(np.array(before)):.3f}",
            f"{class_mean(np.array(after)):.3f}",
            told(gain, patients),
            ", ".join(f"{name} {value:+.3f}" for name, value in zip(names[1:], np.nanmean(gain, axis=0), strict=True)),
            f"{np.mean(by_case < -0.02):.0%}",
            f"{flips[0]}, {flips[1]}",
            f"{spearmanr(agreed, np.nanmean(after, axis=1)).statistic:.2f}" if np.ptp(agreed) else "-",
            f"{(times[-1] - times[0]) * len(times) / max(1, len(times) - 1):.0f}",
        ]
        print(f"| {' | '.join(rows)} |")
    shapes(run, truths, len(names))


def shapes(run: Run, truths: dict[str, np.ndarray], classes: int) -> None:
    """T10 and T12: are labels more plausible, and not merely more like the exemplar?

    Defects: pieces of a class beyond the first, and holes, in a hundred slices that show something.  Areas: of each
    class in each slice, correlated with the truth's, and their variance as a share of the truth's.
    """
    print("\n| labels | pieces too many | holes | areas with the truth's: correlation | variance |")
    print("|---|---|---|---|---|")
    known = {case: np.where(truth == np.iinfo(truth.dtype).max, 0, truth) for case, truth in truths.items()}
    wanted = np.concatenate([areas(truth, classes) for truth in known.values()])
    kinds = {"truth": known}
    for folder in sorted(run.pseudo.iterdir(), key=lambda path: int(path.name)):
        for key, name in (("raw", "before"), ("label", "after")):
            found = {}
            for case in truths:
                with np.load(folder / f"{case}.npz") as file:
                    found[case] = file[key]
            kinds[f"round {folder.name}, {name}"] = found
    for name, labels in kinds.items():
        slices = [label for volume in labels.values() for label in volume if label.any()]
        touching = np.ones((3, 3))  # corners too: a thin wall is one piece
        pieces = sum(max(0, ndimage.label(label == k, touching)[1] - 1) for label in slices for k in range(1, classes))
        holes = sum(ndimage.label(ndimage.binary_fill_holes(label > 0) & (label == 0))[1] for label in slices)
        found = np.concatenate([areas(label, classes) for label in labels.values()])
        columns = range(classes - 1)
        alike = np.mean([np.corrcoef(found[:, k], wanted[:, k])[0, 1] for k in columns])
        spread = np.mean([found[:, k].var() / wanted[:, k].var() for k in columns])
        share = 100 / max(1, len(slices))
        print(f"| {name} | {pieces * share:.0f} | {holes * share:.0f} | {alike:.3f} | {spread:.2f} |")


def areas(volume: np.ndarray, classes: int) -> np.ndarray:
    """(D, K - 1): pixels of each class in each slice of (D, H, W)."""
    return np.stack([(volume == k).sum((1, 2)) for k in range(1, classes)], axis=1)


class Probe:
    """One case's slices, what the segmenter says of them, and labels under changed conditions."""

    def __init__(self, predictor: CalibratedPredictor, image: Tensor) -> None:
        self.predictor, self.size = predictor, image.shape[2:]
        logits, self.features = features_of(predictor.segmenter, image, predictor.calibrator.halvings)
        self.image, self.p = image, logits.float().softmax(1)
        self.guides = predictor.calibrator.guides(self.p, self.features, predictor.autoencoder)

    def label(self, calls: int | None = None, **changed: Tensor) -> Tensor:
        """The fused label; changed: of what guides the calibration; a changed latent is also where it starts, its own
        is what the gate falls back to."""
        guides: Guides = self.guides._replace(**changed)
        found = self.predictor.calibrator.find(guides, calls)
        return self._blended(gated(found, guides._replace(z=self.guides.z))).argmax(1)

    def fused(self) -> Tensor:
        """The probabilities that the label is fused to, without the rules that follow."""
        return self._blended(self.predictor.calibrator.sample(self.guides))

    def _blended(self, latent: Tensor) -> Tensor:
        q = self.predictor.changed(self.p, self.guides.z, latent)
        return blend(self.p, q, self.predictor.share)

    def ensemble(self, flip: tuple[int, ...]) -> Tensor:
        """Mean of the mirrored views that the segmenter was trained on (T7: no denoiser, up to four passes)."""
        total = self.p.clone()
        for axes in (one for count in (1, 2) for one in combinations([2 + axis for axis in flip], count)):
            total += self.predictor.segmenter(self.image.flip(axes)).softmax(1).flip(axes)
        return total.argmax(1)

    def within_gate(self) -> Tensor:
        """(B, *S) bool: voxels of cells that are at least half open."""
        return interpolate(self.guides.gate, size=self.size, mode="nearest")[:, 0] >= 0.5


def reliability(p: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Expected calibration error over 15 bins and Brier score of p (N, K) with truth (N,)."""
    winner, right = p.max(1), p.argmax(1) == truth
    bins = np.minimum((winner * 15).astype(int), 14)
    gaps = np.bincount(bins, winner - right, 15)
    return float(np.abs(gaps).sum() / len(p)), float(np.square(p - np.eye(p.shape[1])[truth]).sum(1).mean())


def probe(run: Run) -> None:
    """T2 on real masks, T6, T7's ensemble, T8's numbers of steps, T14."""
    catalogue, split, settings = read_catalogue(run.catalogue), read_split(run.split), config_of(run)
    model = variants(run)["rectified"]
    predictor = model.predictor
    cache = prepare(catalogue, split, preparation_for(catalogue, settings.plan), run.root / "cache", quiet=True)
    names = catalogue.labels.names

    def shuffled(x: Tensor) -> Tensor:
        return x.roll(max(1, len(x) // 2), 0)

    ways: dict[str, Callable[[Probe, Tensor], Tensor]] = {
        "raw": lambda one, truth: one.p.argmax(1),
        **{f"{calls} steps": lambda one, truth, calls=calls: one.label(calls) for calls in (1, 2, 5, 10, 20)},
        "guide of another slice": lambda one, truth: one.label(g=shuffled(one.guides.g)),
        "label of another slice": lambda one, truth: one.label(z=shuffled(one.guides.z)),
        "no guide": lambda one, truth: one.label(g=torch.zeros_like(one.guides.g)),
        "no label": lambda one, truth: one.label(z=torch.zeros_like(one.guides.z)),
        "no gate": lambda one, truth: one.label(gate=torch.ones_like(one.guides.gate)),
        "mirrored views of the segmenter": lambda one, truth: one.ensemble(model.flip),
        "ceiling: the mask through the autoencoder": lambda one, truth: _through(predictor, truth, len(names)),
    }
    scores: dict[str, list[np.ndarray]] = {name: [] for name in ways}
    said: dict[str, list[np.ndarray]] = {"before": [], "after": [], "truth": []}
    for case in split.val:
        truth = np.asarray(cache.open(case).label)
        rows = torch.from_numpy(cache.normalised(case, model.intensity, model.fingerprint)).movedim(1, 0)
        with torch.no_grad():
            one = Probe(predictor, rows.contiguous())
            known = torch.from_numpy(np.where(truth == np.iinfo(truth.dtype).max, 0, truth).astype(np.int64))
            for name, way in ways.items():
                scores[name].append(dice(way(one, known).numpy(), truth, len(names)))
            asked = one.within_gate() & torch.from_numpy(truth != np.iinfo(truth.dtype).max)
            for name, p in (("before", one.p), ("after", one.fused())):
                said[name].append(p.movedim(1, -1)[asked].numpy())
            said["truth"].append(known[asked].numpy())
    patients = [catalogue.by_id[case].patient for case in split.val]
    raw = np.array(scores["raw"])
    print("| label | Dice | minus raw [95 %] |\n|---|---|---|")
    for name, found in scores.items():
        print(f"| {name} | {class_mean(np.array(found)):.3f} | {told(np.array(found) - raw, patients)} |")
    print("\n| probabilities in the gate | calibration error | Brier |\n|---|---|---|")
    truth = np.concatenate(said["truth"])
    for name in ("before", "after"):
        error, brier = reliability(np.concatenate(said[name]), truth)
        print(f"| {name} | {error:.4f} | {brier:.4f} |")


def _through(predictor: CalibratedPredictor, truth: Tensor, classes: int) -> Tensor:
    p = torch.nn.functional.one_hot(truth, classes).movedim(-1, 1).float()
    return predictor.autoencoder.logits(predictor.autoencoder.latent(p), truth.shape[1:]).argmax(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("rounds", "probe"))
    parser.add_argument("run", type=Path)
    asked = parser.parse_args()
    {"rounds": rounds, "probe": probe}[asked.what](Run(asked.run))


if __name__ == "__main__":
    main()
