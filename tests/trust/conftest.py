"""Evidence by hand: what it says is what a test asks of it."""

import pytest

from fewmask.trust.evidence import ClassEvidence, Evidence


def make(case="a", level="quick", scores=(0.9,), voxels=1000, **changes):
    """Classes `one`, `two`, ... whose members agree to `scores`; None: nobody found it."""
    names = ("one", "two", "three")
    classes = {}
    for name, score in zip(names, scores, strict=False):
        pairs = [[None if a == b else score for b in range(3)] for a in range(3)]
        values = {"voxels": 0 if score is None else voxels, "volume_ml": None, "components": 1, "border": 0.0}
        soft = [score] * 3
        values |= {"agreement": pairs, "soft_dice": soft, "confidence": score} | changes
        classes[name] = ClassEvidence(**values)
    image = {"noise": 0.0, "sharpness": 0.0}
    members = ["plain", "mirror H", "contrast"]
    return Evidence(case=case, level=level, members=members, classes=classes, image=image, descriptor=[0.0])


@pytest.fixture
def evidence():
    return make
