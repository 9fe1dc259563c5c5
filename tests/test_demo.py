"""The demo makes its data, runs both methods, compares them, and continues where it stopped."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from fewmask import demo

pytestmark = pytest.mark.slow


def test_demo(tmp_path: Path, tiny: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    small = partial(demo.write_phantoms, size=(3, 36, 32))
    for name, value in (("PATIENTS", 8), ("VAL", 1), ("TEST", 2), ("SETTINGS", tiny), ("write_phantoms", small)):
        monkeypatch.setattr(demo, name, value)
    out = tmp_path / "demo"
    result = demo.run(out, quiet=True)
    assert set(result.summaries) == {"supervised", "fixmatch"}
    assert all(summary["cases"] == 4 and summary["split"] == "test" for summary in result.summaries.values())
    splits = {(run.root / "split.json").read_text() for run in result.runs.values()}
    assert len(splits) == 1, "both methods learn from the same patients"
    assert len(list((out / "cache").iterdir())) == 1, "one cache serves both"
    page = result.report.read_text(encoding="utf-8")
    assert "supervised" in page and "fixmatch" in page

    text = result.text()
    assert text.startswith("3 of 8 patients labelled; 4 test volumes")
    rows = [line.split()[0] for line in text.splitlines()[2:5]]
    assert rows == ["method", "supervised", "fixmatch"]
    for command in ("fewmask run", "fewmask predict"):
        assert command in text
    assert set(result.to_json()) == {"data", "runs", "summaries", "report"}

    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.nii.gz")}
    assert demo.run(out, quiet=True).summaries == result.summaries
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_the_budget_of_both_methods_is_the_same() -> None:
    assert demo.METHODS == ("supervised", "fixmatch")
    assert demo.SETTINGS["train"]["steps"] <= 1000


def test_the_next_commands_can_be_pasted() -> None:
    run = demo.Run(Path("my demo/fixmatch"))
    summaries = {"fixmatch": {"cases": 4}}
    text = demo.Demonstration(
        data=Path("my demo/data"), runs={"fixmatch": run}, summaries=summaries, report=Path("x")
    ).text()
    assert "fewmask run 'my demo/data' --labelled 1" in text
    assert "fewmask predict 'my demo/fixmatch' YOUR_IMAGE" in text
