"""What the audit of a run found: pseudo-labels before and after rectification or of two networks, and controls."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fewmask.report.page import Content, element, picture, table
from fewmask.report.record import Record
from fewmask.report.results import interval

CONTROLS = {
    "raw": "pseudo-labels as they are",
    "rectified": "after rectification",
    "latent_zero": "control: the latent set to zero",
    "latent_noise": "control: noise for the latent",
    "condition_copy": "control: the raw label's latent, not denoised",
    "largest_component": "control: the largest piece of each class",
    "autoencoder": "control: the raw label through the label autoencoder",
    "one_call": "control: the denoiser's first answer",
    "random_start": "control: sampled from fresh noise",
    "no_features": "control: calibrated without the network's features",
    "no_label": "control: calibrated without the raw label",
    "against": "those of the other run",
    "cnn": "of the convolutional network",
    "diffusion": "of the diffusion network",
    "segmenter": "of the network that predicts",
    "other": "of the other network",
    "auxiliary": "of the head that sees no noise",
    "sampled": "of the sampler",
    "one_step": "control: after one step",
    "prototypes": "control: the nearest prototype's class",
}


def rectification(record: Record) -> list[Content]:
    """The verdict, a table of variants, and a picture of the best and the worst patient; [] without an audit."""
    path = record.run.audit / "audit.json"
    if not path.is_file():
        return []
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    before, after = found.get("pair", ("raw", "rectified"))  # audits from before there were others
    rows = []
    for name, dice in found["dice"].items():
        difference = found["differences"].get(f"{after} - {name}", {})
        p = difference.get("p")
        rows.append([CONTROLS.get(name, name), interval(dice), _signed(difference), "–" if p is None else f"{p:.3f}"])
    pictures = [
        element(
            "figure",
            picture(file.read_bytes(), f"{file.stem}: input, {before}, {after}, truth, change"),
            element("figcaption", file.stem.replace("-", ", ", 1)),
            class_="strip",
        )
        for file in sorted((record.run.audit / "pictures").glob("*.png"))
    ]
    note = (
        f"Dice of pseudo-labels on {found['split']}: {found['cases']} cases of {found['patients']} patients whose "
        "masks training did not see. In small print: 95 % bootstrap intervals over patients; p: Wilcoxon, paired. "
        f"Pictures: from {before} to {after}, green is corrected, red is spoilt, yellow is wrong in both."
    )
    return [
        element("p", element("strong", found["verdict"])),
        table(["Pseudo-labels", "Dice", f"{after} minus this", "p"], rows),
        element("p", note, class_="note"),
        pictures,
    ]


def _signed(difference: Mapping[str, Any]) -> Content:
    """A mean difference with its interval, each with its sign; a dash where there is none."""
    if difference.get("mean") is None:
        return "–"
    mean = f"{difference['mean']:+.3f} "
    if difference["low"] is None:
        return mean
    return [mean, element("small", f"{difference['low']:+.3f} to {difference['high']:+.3f}")]
