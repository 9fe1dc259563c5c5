"""Agreement against an oracle; parts, borders and scores by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.metrics.meandice import compute_dice

from fewmask.errors import DataError
from fewmask.trust.evidence import (
    ClassEvidence,
    Evidence,
    border_share,
    class_evidence,
    components,
    pairwise_dice,
    read_evidence,
)


def labels(seed, shape=(3, 17, 23)):
    return np.random.default_rng(seed).integers(0, 3, shape).astype(np.uint8)


def one_hot(label):
    return torch.nn.functional.one_hot(torch.from_numpy(label).long(), 3).permute(3, 0, 1, 2)[None].float()


def test_pairwise_dice_is_that_of_monai():
    members = [labels(seed) for seed in range(3)]
    found = pairwise_dice(members, 4)  # the fourth class is in none
    assert found.shape == (4, 3, 3)
    for a in range(3):
        for b in range(3):
            if a == b:
                assert np.isnan(found[:, a, b]).all()
                continue
            one, other = (one_hot(members[m]) for m in (a, b))
            expected = compute_dice(one, other, include_background=True)[0].numpy()
            np.testing.assert_allclose(found[:3, a, b], expected, rtol=1e-6)
    assert np.isnan(found[3]).all()


def evidence_of(pairs, soft=None):
    size = len(pairs)
    return ClassEvidence(
        agreement=pairs,
        soft_dice=soft or [None] * size,
        confidence=0.9 if soft else None,
        voxels=5,
        volume_ml=None,
        components=1,
        border=0.0,
    )


def test_the_score_is_the_mean_of_agreement_soft_dice_and_confidence():
    pairs = [[None if a == b else 0.5 if max(a, b) < 3 else 0.1 for b in range(4)] for a in range(4)]
    one = evidence_of(pairs, [1.0, 0.8, 0.6, 0.2])
    assert (one.pairwise("quick"), one.pairwise("full")) == (pytest.approx(0.5), pytest.approx(0.3))
    assert one.score("quick") == pytest.approx((0.5 + 0.8 + 0.9) / 3)
    assert one.score("full") == pytest.approx((0.3 + 0.65 + 0.9) / 3)
    assert evidence_of([[None]], [0.7]).score("quick") == pytest.approx(0.8), "one member agrees with nobody"


def test_a_class_that_only_others_found_scores_nothing_and_that_nobody_found_is_none():
    assert evidence_of([[None, 0.0], [0.0, None]]).score("full") == 0
    assert evidence_of([[None, None], [None, None]]).score("full") is None


def test_components_ignore_specks_and_count_diagonal_neighbours_as_one():
    mask = np.zeros((1, 30, 30), bool)
    mask[0, 2:12, 2:12] = True
    mask[0, 12, 12] = True  # touches a corner
    assert components(mask) == 1
    mask[0, 20:24, 20:24] = True
    mask[0, 28, 28] = True  # under 1 %
    assert components(mask) == 2
    assert components(np.zeros((1, 3, 3), bool)) == 0


def test_border_counts_the_rim_of_slices_alone():
    mask = np.zeros((4, 6, 6), bool)
    mask[0, 2:4, 2:4] = True
    assert border_share(mask) == 0  # the first slice is no rim
    mask[0, 0, 0:4] = True
    assert border_share(mask) == 0.5
    assert border_share(np.zeros((1, 3, 3), bool)) == 0


def test_class_evidence_of_a_mask():
    mask = np.zeros((2, 9, 11), np.uint8)
    mask[:, 2:5, 2:5] = 1
    other = np.roll(mask, 1, axis=1)
    watches = [
        SimpleNamespace(label=label, confidence=np.array([0.9, 0.8, np.nan]), soft_dice=np.array([1, 0.7, np.nan]))
        for label in (mask, other)
    ]
    found = class_evidence(mask, watches, ("background", "one", "two"), 0.001)
    assert set(found) == {"one", "two"}
    one = found["one"]
    assert (one.voxels, one.volume_ml, one.components, one.border) == (18, pytest.approx(0.018), 1, 0)
    assert one.agreement[0][1] == pytest.approx(2 / 3, abs=1e-5) and one.agreement[0][0] is None
    assert found["two"].voxels == 0 and found["two"].confidence is None and found["two"].score("full") is None


def test_written_and_read(tmp_path):
    one = Evidence(
        case="ü<1>",
        level="quick",
        members=["plain", "mirror H"],
        classes={"<b>": evidence_of([[None, 0.5], [0.5, None]])},
        image={"noise": 0.5},
        descriptor=[0.0],
    )
    path = tmp_path / "e.json"
    path.write_text(one.to_json(), encoding="utf-8")
    assert read_evidence(path) == one
    path.write_text("{}")
    with pytest.raises(DataError, match=r"e\.json: cannot be read .*predict again"):
        read_evidence(path)
