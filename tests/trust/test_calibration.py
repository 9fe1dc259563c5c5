"""Scores become Dice by a rising curve; intervals cover as often as they say; names stay at home."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fewmask.errors import DataError
from fewmask.trust.calibration import (
    LEAST_CASES,
    LEAST_PATIENTS,
    MISS,
    WHOLE,
    Bounds,
    Calibrated,
    Calibration,
    ClassRange,
    Curve,
    Familiar,
    Point,
    read_calibration,
)


def test_the_curve_passes_through_rising_points_and_the_origin():
    curve = Curve(np.array([0.5, 0.8, 0.9]), np.array([0.4, 0.7, 0.9]))
    np.testing.assert_allclose(curve([0.0, 0.25, 0.5, 0.65, 0.8, 0.9, 1.0]), [0, 0.2, 0.4, 0.55, 0.7, 0.9, 0.9])


def test_falling_points_are_pooled_as_pool_adjacent_violators_does():
    """Scores with ties; naive pooling by hand: (0.6, 0.7) swap, mean 0.5."""
    curve = Curve(np.array([0.9, 0.6, 0.7, 0.7]), np.array([0.9, 0.6, 0.5, 0.4]))
    np.testing.assert_allclose(curve([0.6, 0.7, 0.9]), [0.5, 0.5, 0.9])


def sample(rng, count):
    score = rng.uniform(0.3, 1, count)
    return score, np.clip(score**2 + rng.normal(0, 0.08, count), 0, 1)


def test_intervals_cover_as_often_as_they_say():
    rng = np.random.default_rng(0)
    hits = total = 0
    for _ in range(40):
        score, dice = sample(rng, 20)
        fitted = Calibrated(score, dice, range(20))
        for one, truth in zip(*sample(rng, 40), strict=True):
            if one >= fitted.lowest:
                predicted, low, high = fitted(one)
                assert 0 <= low <= predicted <= high <= 1
                hits += low <= truth <= high
                total += 1
    assert 1 - 2 * MISS < hits / total < 0.99  # the guarantee of CV+, and not by being endless


def test_a_score_below_all_that_was_seen_promises_nothing():
    fitted = Calibrated(np.linspace(0.6, 0.9, 12), np.linspace(0.5, 0.8, 12), range(12))
    predicted, low, _ = fitted(0.3)
    assert predicted == pytest.approx(0.25)
    assert low == 0


def test_one_patient_gives_no_interval_and_few_cases_an_endless_one():
    scores = np.linspace(0.6, 0.9, 12)
    assert Calibrated(scores, scores, ["one"] * 12)(0.7)[1:] == (0.0, 1.0)
    assert Calibrated(scores[:5], scores[:5], range(5))(0.7)[1:] == (0.0, 1.0)


def points(count, name="organ", level="quick", first=0):
    return tuple(
        Point(case=first + n, group=first + n, name=name, score={level: 0.5 + n / 40}, dice=0.5 + n / 40)
        for n in range(count)
    )


def test_under_ten_cases_only_ranks():
    assert Calibration(model="m", source="val", points=points(LEAST_CASES - 1)).of("organ", "quick") is None
    found = Calibration(model="m", source="val", points=points(LEAST_CASES)).of("organ", "quick")
    assert found is not None and found(0.6)[0] == pytest.approx(0.6)


def test_many_cases_of_few_patients_only_rank():
    many = [replace(point, group=point.case % LEAST_PATIENTS) for point in points(20)]
    assert Calibration(model="m", source="val", points=many).of("organ", "quick") is not None
    few = [replace(point, group=point.case % (LEAST_PATIENTS - 1)) for point in many]
    assert Calibration(model="m", source="val", points=few).of("organ", "quick") is None


def test_a_rare_class_borrows_from_the_others_but_the_whole_mask_never_does():
    calibration = Calibration(model="m", source="val", points=points(12) + points(2, "rare"))
    assert calibration.of("rare", "quick").cases == 14
    assert calibration.of(WHOLE, "quick") is None
    assert calibration.of("organ", "full") is None, "scores of other members are another scale"


def test_classes_that_nobody_found():
    empty = tuple(
        Point(case=n, group=n, name="rare", score={"quick": None}, dice=0.0 if n == 0 else None) for n in range(20)
    )
    calibration = Calibration(model="m", source="val", points=empty)
    assert calibration.rightly_empty("rare", "quick") == pytest.approx(19 / 20)
    assert calibration.rightly_empty("organ", "quick") is None
    assert calibration.rightly_empty("rare", "full") is None, "those members were not asked"


def test_written_and_read_without_names(tmp_path):
    before = Calibration(
        model="hash",
        source="val",
        points=points(3),
        ranges={"organ": ClassRange(size=Bounds(low=1.0, high=3.0), unit="voxels", components=2, border=0.1)},
        familiar=Familiar(centre={"noise": 0.5}, spread={"noise": 0.1}, most=4.0),
    )
    before.write(tmp_path)
    assert read_calibration(tmp_path, "hash") == before
    assert read_calibration(tmp_path, "other weights") is None
    assert read_calibration(tmp_path / "absent", "hash") is None
    assert {type(point["case"]) for point in json.loads((tmp_path / "calibration.json").read_text())["points"]} == {int}
    (tmp_path / "calibration.json").write_text('{"model": "hash"}')
    with pytest.raises(DataError, match=r"calibration\.json: cannot be read .*delete it"):
        read_calibration(tmp_path, "hash")


def test_distance_names_the_furthest_number():
    familiar = Familiar(centre={"a": 0.0, "b": 1.0}, spread={"a": 1.0, "b": 0.5}, most=3.0)
    assert familiar.distance({"a": 2.0, "b": 3.0}) == (4.0, "b")
