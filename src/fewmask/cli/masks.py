"""The commands on masks: which to trust, which to label next, which given ones to doubt, and what a review said."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fewmask.cli.options import Device, Json, Quiet, Steps, out_option
from fewmask.cli.show import show

FinishedRun = Annotated[Path, typer.Argument(metavar="RUN", help="A finished run folder.")]


def triage(
    run: FinishedRun,
    target: Annotated[float, typer.Option("--target-dice", metavar="D", help="Mean Dice of the accepted masks.")],
    masks: Annotated[
        Path | None,
        typer.Option(
            "--masks", metavar="DIR", help="Masks that RUN predicted. Default: those of its unlabelled cases."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.csv", help="Also write the whole worklist.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Which masks to accept, which to review. Keeps the expected mean Dice of the accepted on target."""
    from fewmask.runs import atomic_write
    from fewmask.triage import triage as make_worklist
    from fewmask.triage import worklist_text

    found = make_worklist(run, target, masks)
    if out is not None:
        atomic_write(out, found.to_csv())
    show(found.to_json(), worklist_text(found), as_json)


def suggest(
    run: FinishedRun,
    count: Annotated[int, typer.Option("-n", "--count", metavar="N", help="How many patients.")] = 5,
    strategy: Annotated[
        str, typer.Option("--strategy", metavar="gain|random", help="By expected gain and diversity, or the control.")
    ] = "gain",
    seed: Annotated[int, typer.Option("--seed", metavar="S", help="Of the random choice.")] = 0,
    as_json: Json = False,
) -> None:
    """What to label next. One case each of the unlabelled patients that would teach the most."""
    from fewmask.suggest import suggest as choose
    from fewmask.suggest import suggestion_text

    found = choose(run, count, strategy, seed)
    show([one.to_json() for one in found], suggestion_text(found, strategy), as_json)


def audit_labels(
    run: FinishedRun,
    out: Annotated[Path, out_option("DIR", "Where suspects.csv and the folds' runs go.")],
    folds: Annotated[int, typer.Option("--folds", metavar="K", help="Models to train, each without a part.")] = 5,
    steps: Steps = None,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Which given masks to doubt. Each is held against models that did not learn from it."""
    from fewmask import label_audit

    found = label_audit.audit_labels(run, out, folds=folds, steps=steps, device=device, quiet=quiet)
    show(found.to_json(), label_audit.audit_text(found), as_json)


def apply_review(
    review: Annotated[Path, typer.Argument(metavar="REVIEW.json", help="What report.html exported.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="CATALOGUE", help="The next round's data. Default: RUN-next.")
    ] = None,
    run: Annotated[Path | None, typer.Option("--run", metavar="RUN", help="The reviewed run, if it was moved.")] = None,
    fixed: Annotated[
        Path | None, typer.Option("--fixed", metavar="DIR", help="Corrected masks, each named as its case.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Turn a review into labels. Accepted and corrected masks are learned from in the next round."""
    from fewmask import review as reviewing

    found = reviewing.apply_review(review, out, run=run, fixed=fixed)
    show(found.to_json(), reviewing.applied_text(found), as_json)
