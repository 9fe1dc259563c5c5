"""The commands that do a whole job: run, train, demo."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from fewmask.cli.options import (
    CacheFolder,
    Data,
    Device,
    Exemplar,
    Json,
    Labelled,
    Layout,
    Method,
    Quiet,
    Recipes,
    Seed,
    Settings,
    SplitFile,
    Steps,
    Test,
    Val,
    out_option,
)
from fewmask.cli.show import show


def run(
    data: Data,
    out: Annotated[Path, out_option("OUT", "The run folder.")],
    settings: Settings = None,
    method: Method = None,
    labelled: Labelled = None,
    exemplar: Exemplar = None,
    val: Val = None,
    test: Test = None,
    split: SplitFile = None,
    recipe: Recipes = None,
    steps: Steps = None,
    seed: Seed = None,
    cache: CacheFolder = None,
    layout: Layout = None,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """From masks for a few images to masks for all. Scans, splits, plans, prepares, trains, predicts every case that
    was not labelled for training, evaluates and reports. The same command continues where it stopped."""
    from fewmask import api
    from fewmask.listing import outcome_json, outcome_text

    outcome = api.run(
        data,
        out,
        method=method,
        labelled=labelled,
        exemplar=exemplar,
        val=val,
        test=test,
        split=split,
        recipes=recipe or (),
        settings=_settings(settings, steps, seed),
        cache=cache,
        layout=layout,
        device=device,
        quiet=quiet,
    )
    show(outcome_json(outcome), outcome_text(outcome), as_json)


def train(
    data: Data,
    out: Annotated[Path, out_option("RUN", "The run folder.")],
    settings: Settings = None,
    method: Method = None,
    labelled: Labelled = None,
    exemplar: Exemplar = None,
    val: Val = None,
    test: Test = None,
    split: SplitFile = None,
    recipe: Recipes = None,
    steps: Steps = None,
    seed: Seed = None,
    cache: CacheFolder = None,
    layout: Layout = None,
    device: Device = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Only continue: RUN must hold this run already.")] = False,
    quiet: Quiet = False,
) -> None:
    """Train a model. The same command continues. Also: torchrun --nproc-per-node N -m fewmask train ..."""
    from fewmask import api

    run = api.train(
        data,
        out,
        method=method,
        labelled=labelled,
        exemplar=exemplar,
        val=val,
        test=test,
        split=split,
        recipes=recipe or (),
        settings=_settings(settings, steps, seed),
        cache=cache,
        layout=layout,
        device=device,
        resume=resume,
        quiet=quiet,
    )
    if os.environ.get("RANK", "0") == "0":  # under torchrun one process speaks for all
        typer.echo(f"model: {run.model}")


def demo(
    out: Annotated[Path, out_option("OUT", "Where data, runs and report go.")] = Path("fewmask-demo"),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """The whole job on generated phantoms. FixMatch against supervised, 3 labelled patients; CPU, under 3 minutes."""
    from fewmask import demo as demonstration

    result = demonstration.run(out, quiet=quiet)
    show(result.to_json(), result.text(), as_json)


def _settings(assignments: Sequence[str] | None, steps: int | None, seed: int | None) -> dict[str, Any]:
    """key=value together with the options that stand for one."""
    from fewmask.config import parse_assignments

    options = {"steps": steps, "seed": seed}
    named = [f"train.{key}={value}" for key, value in options.items() if value is not None]
    return parse_assignments([*(assignments or ()), *named])
