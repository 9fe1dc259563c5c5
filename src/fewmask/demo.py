"""The demo: the whole job on heart phantoms; fixmatch against supervised with 3 labelled patients of 24."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fewmask import job, listing
from fewmask.data.phantom import write_phantoms
from fewmask.order import Order
from fewmask.progress import say
from fewmask.report import report as write_report
from fewmask.resolution import Request
from fewmask.runs import Run

METHODS = ("supervised", "fixmatch")
PATIENTS, LABELLED, VAL, TEST = 24, 3, 5, 6
SETTINGS = {
    "plan": {"size": [64, 64]},
    "train": {"steps": 600, "validations": 4},
    "method": {"ema": 0.98, "segmenter": {"width": 8}},
}
"""For both methods: the cpu tier with smaller slices, network and budget, and a shorter moving average to match."""


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """Where the data, the two runs and their common report lie, and the test summary of each method."""

    data: Path
    runs: Mapping[str, Run]
    summaries: Mapping[str, Mapping[str, Any]]
    report: Path

    def to_json(self) -> dict[str, Any]:
        """Paths and summaries as plain values."""
        return {
            "data": str(self.data),
            "runs": {method: str(run.root) for method, run in self.runs.items()},
            "summaries": dict(self.summaries),
            "report": str(self.report),
        }

    def text(self) -> str:
        """The table, the report and what to try next, for people."""
        rows = [
            {"method": method, **{name: listing.interval(summary[name]) for name in listing.measures(summary)}}
            for method, summary in self.summaries.items()
        ]
        tested = next(iter(self.summaries.values()))["cases"]
        data, run = (shlex.quote(str(path)) for path in (self.data, self.runs[METHODS[-1]].root))
        return "\n".join(
            [
                f"{LABELLED} of {PATIENTS} patients labelled; {tested} test volumes that no run has seen:",
                "",
                listing.table(rows),
                "",
                f"report  {self.report}",
                f"masks   {self.runs[METHODS[-1]].predictions}",
                "",
                "next",
                f"  fewmask triage {run} --target-dice 0.85     # which masks to accept, which to review",
                f"  fewmask run {data} --labelled 1 --test {TEST} --out demo-one     # one labelled patient",
                "  fewmask run YOUR_FOLDER --out my-run                 # your images, a few of them with masks",
                f"  fewmask predict {run} YOUR_IMAGE.nii.gz --out masks",
            ]
        )


def run(out: Path, quiet: bool = False) -> Demonstration:
    """Write phantoms to `out`/data, train both methods, and compare them on test in `out`/report.html.

    The same call continues where an earlier one stopped.
    """
    data = out / "data"
    if not (data / "dataset.json").exists():
        say(f"demo: {PATIENTS} heart phantoms in {data}", quiet)
        write_phantoms(data, patients=PATIENTS)
    order = Order(
        data=data,
        labelled=str(LABELLED),
        val=str(VAL),
        test=str(TEST),
        cache=out / "cache",
        device="cpu",
        quiet=quiet,
    )
    runs, summaries = {}, {}
    for method in METHODS:
        say(f"demo: {method}", quiet)
        request = Request(method=method, settings=SETTINGS)
        outcome = job.run(replace(order, request=request), out / method)
        runs[method], summaries[method] = outcome.run, outcome.summaries["test"]
    report = write_report([run.root for run in runs.values()], out / "report.html")
    return Demonstration(data=data, runs=runs, summaries=summaries, report=report)
