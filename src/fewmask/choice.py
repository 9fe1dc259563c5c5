"""`auto`: which method for which data, by what was measured (docs/explanation/choosing-a-method.md)."""

from __future__ import annotations

from dataclasses import dataclass

AUTO = "auto"
BASE = "supervised"
"""What nothing can spoil: the answer wherever no method was seen to be better."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """`method` where the data are like those it was measured on.

    labelled: range of labelled patients; classes: most structures (without the background); evidence: the measurement.
    """

    method: str
    dims: int
    labelled: tuple[int, int]
    classes: int
    evidence: str


RULES = (
    Rule(
        method="fixmatch",
        dims=2,
        labelled=(2, 6),
        classes=6,
        evidence="better than supervised in each of 3 seeds on ACDC in 2-D with 3 labelled patients and 3 structures",
    ),
)
"""The first that fits decides.  A measurement speaks for half to twice its number of labelled patients, and for up to
twice as many structures."""


def choose_method(*, unlabelled: bool, dims: int, labelled: int, classes: int) -> tuple[str, str]:
    """(method, reason).  unlabelled: whether there is any such image; labelled: patients; classes: structures."""
    if not unlabelled:
        return BASE, "no image is unlabelled"
    for rule in RULES:
        least, most = rule.labelled
        if rule.dims == dims and least <= labelled <= most and classes <= rule.classes:
            return rule.method, rule.evidence
    patients = "1 labelled patient" if labelled == 1 else f"{labelled} labelled patients"
    structures = "1 structure" if classes == 1 else f"{classes} structures"
    return BASE, f"nothing is known to be better in {dims}-D with {patients} and {structures}; --method names another"
