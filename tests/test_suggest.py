"""Unsure, unlike what is labelled, one a patient; the control draws among what has foreground."""

import pytest

from fewmask.data.catalogue import read_catalogue
from fewmask.data.split_file import read_split
from fewmask.errors import DataError, SettingsError
from fewmask.suggest import _by_gain, _random, suggest, suggestion_text
from fewmask.trust import Evidence
from fewmask.trust.evidence import ClassEvidence


def evidence(case, place, voxels=10):
    seen = ClassEvidence(
        agreement=[[None]], soft_dice=[None], confidence=None, voxels=voxels, volume_ml=None, components=1, border=0.0
    )
    return Evidence(case=case, level="quick", members=["plain"], classes={"x": seen}, image={}, descriptor=place)


CASES = {
    "near the labelled": evidence("near the labelled", [0.0, 0.1]),
    "far": evidence("far", [5.0, 0.0]),
    "twin of far": evidence("twin of far", [5.0, 0.1]),
    "middle": evidence("middle", [2.5, 2.5]),
}
PATIENTS = {name: name for name in CASES}


def chosen(gains, count=2, patients=PATIENTS, labelled=([0.0, 0.0],)):
    return [one.case for one in _by_gain(CASES, gains, patients, count, labelled)]


def test_of_equally_unsure_cases_the_unlike_ones_are_taken():
    equal = dict.fromkeys(CASES, 0.5)
    first, second = chosen(equal)
    assert "near the labelled" not in (first, second)
    assert {first, second} != {"far", "twin of far"}


def test_of_equally_far_cases_the_unsure_one_is_taken():
    assert chosen({**dict.fromkeys(CASES, 0.1), "twin of far": 0.6}, 1) == ["twin of far"]
    assert chosen({**dict.fromkeys(CASES, 0.1), "far": 0.6}, 1) == ["far"]


def test_one_case_a_patient():
    patients = {**PATIENTS, "far": "p", "twin of far": "p", "middle": "p"}
    assert len({patients[case] for case in chosen(dict.fromkeys(CASES, 0.5), 2, patients)}) == 2


def test_the_control_is_a_draw_in_which_empty_cases_come_last():
    cases = {**CASES, "empty": evidence("empty", [0.0, 0.0], voxels=0)}
    patients = {name: name for name in cases}
    gains = dict.fromkeys(cases, 0.5)
    draws = [[one.case for one in _random(cases, gains, patients, 5, seed)] for seed in range(8)]
    assert all(draw[-1] == "empty" for draw in draws)
    assert len({tuple(draw) for draw in draws}) > 3
    assert draws[0] == [one.case for one in _random(cases, gains, patients, 5, 0)]


@pytest.mark.parametrize("strategy", ["gain", "random"])
def test_a_finished_run_suggests_unlabelled_patients(finished, strategy):
    run = finished.run
    split, catalogue = read_split(run.split), read_catalogue(run.catalogue)
    found = suggest(run.root, 2, strategy)
    assert len(found) == 2 and {one.case for one in found} <= set(split.unlabelled)
    labelled = {catalogue.by_id[case].patient for case in split.cases("labelled")}
    assert not labelled & {one.patient for one in found}
    assert all(one.case in suggestion_text(found, strategy) for one in found)


def test_wrong_input_is_named(finished, tmp_path):
    root = finished.run.root
    with pytest.raises(SettingsError, match=r"--strategy gian; did you mean 'gain'\?"):
        suggest(root, 1, "gian")
    with pytest.raises(SettingsError, match="-n 0: at least 1"):
        suggest(root, 0)
    with pytest.raises(DataError, match="2 unlabelled patients with a prediction and its evidence, 99 asked"):
        suggest(root, 99)
    with pytest.raises(DataError, match=r"no run in it"):
        suggest(tmp_path, 1)
