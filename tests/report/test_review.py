"""The review in the report: safe text, small files, and a real browser that reviews by keyboard alone."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewmask.data.catalogue import read_catalogue, write_catalogue
from fewmask.data.split_file import read_split, write_split
from fewmask.report import report
from fewmask.report.record import read_records
from fewmask.report.review import FEW, SMALL, review, review_data
from fewmask.review import apply_review
from fewmask.runs import Run
from fewmask.trust import WHOLE, Verdict, read_trust, write_trust

specification = importlib.util.spec_from_file_location("chromium", Path(__file__).with_name("chromium.py"))
chromium = importlib.util.module_from_spec(specification)
specification.loader.exec_module(chromium)

EVIL = "<img src=x onerror=alert(1)>"


def verdict(case, name, dice, reasons=()):
    return Verdict(
        case=case,
        name=name,
        predicted_dice=dice,
        low=max(0.0, dice - 0.1),
        high=min(1.0, dice + 0.1),
        flag="accept" if dice >= 0.8 else "review",
        reasons=reasons,
        agreement=dice,
        confidence=dice,
        voxels=10,
        volume_ml=1.0,
        opinions="quick",
    )


@pytest.fixture(scope="module")
def trusted(make_run, tmp_path_factory) -> Path:
    """A run with verdicts, the least trusted first; an unlabelled case is called as nobody should call one."""
    folder = make_run(tmp_path_factory.mktemp("trusted") / "run <b>")
    run = Run(folder)
    catalogue, split = read_catalogue(run.catalogue), read_split(run.split)
    old = split.unlabelled[0]
    (run.predictions / f"{old}.nii.gz").rename(run.predictions / f"{EVIL}.nii.gz")
    cases = tuple(replace(case, id=EVIL) if case.id == old else case for case in catalogue.cases)
    write_catalogue(replace(catalogue, cases=cases), run.catalogue, absolute=True)
    split = replace(split, unlabelled=(EVIL, *split.unlabelled[1:]))
    write_split(split, run.split)
    rows = []
    for number, case in enumerate((*split.unlabelled, *split.val, *split.test)):
        dice = 0.5 + number / 20
        rows.append(verdict(case, WHOLE, dice, ("intensity unlike training: </script>",) * (number == 0)))
        rows += [verdict(case, name, dice) for name in catalogue.labels.names[1:]]
    write_trust(rows, run.predictions / "trust.csv")
    return folder


@pytest.fixture(scope="module")
def page(trusted) -> Path:
    return report([trusted], trusted / "report.html")


def test_only_its_own_script_runs_and_no_name_is_markup(page):
    text = page.read_text(encoding="utf-8")
    assert len(re.findall(r"<script", text)) == 2  # the data and the script; nothing of the user's
    (digest,) = re.findall(r"script-src &#x27;sha256-([^&]+)&#x27;", text)
    (script,) = re.findall(r"<script>(.*?)</script>", text, flags=re.S)
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() == digest
    assert EVIL not in text and "default-src &#x27;none&#x27;" in text
    assert "unsafe-eval" not in text and "http" not in text.replace("http-equiv", "")
    (data,) = re.findall(r'<script type="application/json" id="review-data">(.*?)</script>', text, flags=re.S)
    assert json.loads(data)["cases"][0]["case"] == EVIL


def test_a_run_without_verdicts_has_no_script(run):
    assert review(read_records([run])[0]) == []


def test_pictures_show_the_predicted_slices_in_the_classes_colours(trusted):
    record = read_records([trusted])[0]
    rows = read_trust(trusted / "predictions" / "trust.csv")
    found = review_data(record, rows)
    assert [one["case"] for one in found["cases"]] == [row.case for row in rows if row.name == WHOLE]
    one = found["cases"][1]
    picture, mask = (
        Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))
        for source in (one["image"], one["layers"]["mask"])
    )
    assert picture.size == mask.size == (one["width"], one["height"] * len(one["slices"]))
    values = np.asarray(mask.convert("RGBA"))
    assert 0.02 < (values[..., 3] > 0).mean() < 0.9
    shown = {"#{:02x}{:02x}{:02x}".format(*colour) for colour in np.unique(values[values[..., 3] > 0][:, :3], axis=0)}
    assert shown <= {known["colour"].lower() for known in found["classes"]} and len(shown) >= 2


def test_four_hundred_cases_stay_under_50_mb(trusted):
    """Bound by the worst there is: every voxel noise, as large as a case of a long list is drawn."""
    from fewmask.report.review import _jpeg, _png

    side, slices = SMALL
    noise = np.random.default_rng(0)
    image = _jpeg(noise.integers(0, 256, (slices, side, side, 1), dtype=np.uint8))
    blocks = np.kron(noise.integers(0, 4, (slices, side // 8, side // 8)), np.ones((1, 8, 8), int))
    assert FEW < 400
    assert 400 * (len(image) + len(_png(blocks))) < 50e6


def test_a_mask_that_cannot_be_read_says_so(trusted, tmp_path):
    record = read_records([trusted])[0]
    rows = [verdict("nobody", WHOLE, 0.5)]
    assert review_data(record, rows)["cases"][0]["trouble"] == "no mask in predictions/"


@pytest.mark.slow
@pytest.mark.skipif(chromium.found() is None, reason="no Chromium is installed")
def test_a_whole_review_by_keyboard_alone(page, trusted, tmp_path):
    browser = chromium.Page(page, tmp_path)
    try:
        assert browser.value("document.querySelectorAll('.card').length") == 10
        assert browser.value("document.querySelector('#viewer h3').textContent") == EVIL
        assert browser.value("document.querySelectorAll('img[onerror]').length") == 0
        browser.press("4", "A")  # graded, accepted, caps lock on; the next one is shown
        second = browser.value("document.querySelector('#viewer h3').textContent")
        assert second != EVIL
        before = browser.value("document.getElementById('place').textContent")
        browser.press("ArrowRight", "ArrowLeft", "ArrowUp")
        assert browser.value("document.querySelector('#viewer h3').textContent") == second
        assert browser.value("document.getElementById('place').textContent") != before
        opacity = float(browser.value("document.getElementById('overlay').style.opacity"))
        browser.press("]")
        assert float(browser.value("document.getElementById('overlay').style.opacity")) > opacity
        browser.press("n")
        browser.press(*"raft")  # letters of a note decide nothing
        browser.press("Escape", "r")
        third = browser.value("document.querySelector('#viewer h3').textContent")
        browser.press("a", "u")  # the decision is taken back, and its case shown again
        assert browser.value("document.querySelector('#viewer h3').textContent") == third
        browser.press("3", "5", "u")  # the grade before
        browser.press("ArrowLeft", "x")
        exported = browser.saved("review.json")
        browser.picture(tmp_path / "review.png")
        assert browser.troubles() == []
    finally:
        browser.close()
    content = json.loads(exported.read_text(encoding="utf-8"))
    by_case = {entry["case"]: entry for entry in content["reviews"]}
    assert (by_case[EVIL]["decision"], by_case[EVIL]["grade"]) == ("accept", 4)
    assert (by_case[second]["decision"], by_case[second]["note"]) == ("reject", "raft")
    assert (by_case[third]["decision"], by_case[third]["grade"]) == (None, 3)
    applied = apply_review(exported, tmp_path / "next", run=trusted)
    assert applied.accepted == (EVIL,) and applied.rejected == (second,)


@pytest.mark.slow
@pytest.mark.skipif(chromium.found() is None, reason="no Chromium is installed")
def test_a_volume_is_shown_whole_without_network(trusted, tmp_path):
    """Two cases are in the file; NiiVue, allowed by its hash, draws the first with its mask in the classes' colours."""
    page = report([trusted], tmp_path / "volumes.html", volumes=2)
    browser = chromium.Page(page, tmp_path)
    try:
        browser.press("v")
        drawn = "document.getElementById('volume')?.dataset.volumes === '2'"
        browser.wait(drawn)
        browser.press("ArrowRight", "ArrowRight", "v")  # the third is not in the file: nothing happens
        assert browser.value("document.getElementById('volume')") is None
        assert browser.troubles() == []
    finally:
        browser.close()
