"""The accepted keep the target, and no more are reviewed than that takes."""

import csv
import io

import numpy as np
import pytest

from fewmask.data.split_file import read_split
from fewmask.errors import DataError, SettingsError
from fewmask.triage import expected_means, triage, worklist, worklist_text
from fewmask.trust import WHOLE, Calibration, Point, Verdict


def verdict(case, score, predicted=True, reasons=(), opinions="quick"):
    numbers = (score, max(0.0, score - 0.1), min(1.0, score + 0.1)) if predicted else (None,) * 3
    return Verdict(
        case=case,
        name=WHOLE,
        predicted_dice=numbers[0],
        low=numbers[1],
        high=numbers[2],
        flag="review",
        reasons=reasons,
        agreement=score,
        confidence=score,
        voxels=10,
        volume_ml=None,
        opinions=opinions,
    )


def calibration(noise=0.0, count=30, levels=("quick",)):
    rng = np.random.default_rng(0)
    scores = np.linspace(0.2, 1, count)
    dice = np.clip(scores + rng.normal(0, noise, count), 0, 1)
    return Calibration(
        model="m",
        source="val",
        points=tuple(
            Point(case=n, group=n, name=WHOLE, score={level: float(score) for level in levels}, dice=float(value))
            for n, (score, value) in enumerate(zip(scores, dice, strict=True))
        ),
    )


SCORES = {f"case{n}": n / 10 for n in range(3, 11)}


def test_an_exact_calibration_accepts_up_to_the_mean_alone():
    """Without noise the mean of 1.0, 0.9, ... is known: five masks have 0.8, six 0.75.

    The lower end is a little under that: some resamples do not draw the best calibration cases.
    """
    found = worklist([verdict(case, score) for case, score in SCORES.items()], calibration(), 0.77)
    assert [one.case for one in found.accept] == ["case10", "case9", "case8", "case7", "case6"]
    assert [one.case for one in found.review] == ["case3", "case4", "case5"], "the worst first"
    assert found.mean == pytest.approx(0.8, abs=0.01) and 0.77 <= found.low <= 0.8


def test_noise_makes_it_careful_and_the_interval_holds_the_truth():
    whole = [verdict(f"c{n}", score) for n, score in enumerate(np.linspace(0.3, 1, 60))]
    sure, unsure = (worklist(whole, calibration(noise), 0.8) for noise in (0.0, 0.15))
    assert len(unsure.accept) < len(sure.accept)
    assert unsure.low < unsure.mean < unsure.high and unsure.low >= 0.8


def test_the_expected_mean_is_as_uncertain_as_its_interval_says(monkeypatch):
    """90 % intervals of the mean of 30 masks, from 20 volumes of 10 patients each time.

    With the errors of the very points that a curve was fitted to they would hold it four times in five.
    """
    monkeypatch.setattr("fewmask.triage.RESAMPLES", 60)
    rng = np.random.default_rng(1)
    held = []
    for _ in range(50):
        score, asked = rng.uniform(0.5, 1, 20), rng.uniform(0.5, 1, 30)
        own = np.repeat(rng.normal(0, 0.05, 10), 2)  # what a patient's two volumes share
        dice = np.clip(score**1.5 + own + rng.normal(0, 0.06, 20), 0, 1)
        truth = np.clip(asked**1.5 + rng.normal(0, 0.078, 30), 0, 1).mean()
        known = Calibration(
            model="m",
            source="val",
            points=tuple(
                Point(case=n, group=n // 2, name=WHOLE, score={"quick": score[n]}, dice=dice[n]) for n in range(20)
            ),
        )
        means = expected_means([verdict(str(n), value) for n, value in enumerate(asked)], known)[:, -1]
        low, high = np.quantile(means, [0.05, 0.95])
        held.append(low <= truth <= high)
    assert 0.86 <= np.mean(held) <= 0.99


def test_an_alarm_is_reviewed_whatever_the_mean():
    whole = [verdict("good", 0.9), verdict("odd", 0.99, reasons=("intensity unlike training: noise",))]
    found = worklist(whole, calibration(), 0.5)
    assert [one.case for one in found.accept] == ["good"] and [one.case for one in found.review] == ["odd"]


def test_nothing_is_accepted_without_calibration_and_the_order_is_that_of_agreement():
    found = worklist([verdict(case, score, predicted=False) for case, score in SCORES.items()], None, 0.5)
    assert found.accept == () and found.mean is None
    assert [one.case for one in found.review][:2] == ["case3", "case4"]
    assert "ranking only" in worklist_text(found)


def test_an_unreachable_target_says_so():
    found = worklist([verdict("a", 0.5)], calibration(), 0.9)
    assert "no number of them keeps an expected mean Dice of 0.9" in worklist_text(found)


def test_levels_of_opinions_are_told_apart():
    mixed = calibration(levels=("quick", "full"))
    means = expected_means([verdict("a", 0.9), verdict("b", 0.7, opinions="full")], mixed)
    np.testing.assert_allclose(means.mean(0), [0.9, 0.8], atol=0.03)


def test_the_table_holds_everyone_in_order_of_work():
    found = worklist([verdict(case, score) for case, score in SCORES.items()], calibration(), 0.77)
    rows = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert [row["action"] for row in rows] == ["review"] * 3 + ["accept"] * 5
    assert found.to_json()["accepted"]["cases"] == 5


def test_wrong_input_is_named(finished, tmp_path):
    for target in (0, 1.5, -1):
        with pytest.raises(SettingsError, match=f"--target-dice {target}: a Dice between 0 and 1"):
            triage(finished.run.root, target)
    with pytest.raises(DataError, match="no model"):
        triage(tmp_path, 0.9)
    with pytest.raises(DataError, match="not there; make it with"):
        triage(finished.run.root, 0.9, tmp_path)


def test_a_finished_run_has_its_worklist(finished):
    found = triage(finished.run.root, 0.9)
    assert found.accept == ()
    known = read_split(finished.run.split)
    assert {one.case for one in found.review} == set(known.unlabelled), "nobody reviews val and test: they have masks"
    given = triage(finished.run.root, 0.9, finished.run.predictions)
    assert len(given.review) == len(finished.predictions), "of masks that were named none is left out"
