"""The report's section on pseudo-labels."""

import json
from types import SimpleNamespace

import pytest

from fewmask.methods import METHODS, build_method
from fewmask.report.rectification import CONTROLS, rectification
from fewmask.types import Task

FOUND = {
    "split": "val",
    "cases": 4,
    "patients": 2,
    "pair": ["raw", "rectified"],
    "dice": {
        "raw": {"mean": 0.5, "low": 0.4, "high": 0.6},
        "rectified": {"mean": 0.6, "low": 0.5, "high": 0.7},
        "latent_zero": {"mean": 0.55, "low": None, "high": None},
    },
    "differences": {
        "rectified - raw": {"mean": 0.1, "low": 0.05, "high": 0.15, "p": 0.03125},
        "rectified - latent_zero": {"mean": -0.05, "low": None, "high": None, "p": None},
    },
    "verdict": "Rectification <improves> pseudo-labels.",
}


def record(folder):
    return SimpleNamespace(run=SimpleNamespace(audit=folder))


def test_without_an_audit_there_is_no_section(tmp_path):
    assert rectification(record(tmp_path)) == []


def test_verdict_table_and_pictures(tmp_path):
    (tmp_path / "audit.json").write_text(json.dumps(FOUND))
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "best-case<1>.png").write_bytes(b"png")
    drawn = "".join(str(part) for part in rectification(record(tmp_path)))
    assert "Rectification &lt;improves&gt; pseudo-labels." in drawn
    assert "+0.100" in drawn and "+0.050 to +0.150" in drawn and "0.031" in drawn
    assert "-0.050" in drawn and "control: the latent set to zero" in drawn
    assert "best, case&lt;1&gt;" in drawn and "case<1>" not in drawn


@pytest.mark.parametrize("name", METHODS)
def test_every_kind_of_label_has_words(name):
    task = Task(channels=1, classes=2, names=("background", "organ"), patch_size=(16, 16))
    method = build_method({"name": name, "segmenter": {"width": 2}}, task)
    assert set(method.audit()) <= set(CONTROLS)
