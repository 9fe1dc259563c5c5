"""The commands that do a whole job: run, train, compare, demo."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

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
from fewmask.errors import Interrupted, SettingsError

Command = TypeVar("Command", bound=Callable[..., None])


def _asked(
    *,
    data: Data,
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
) -> dict[str, Any]:
    """What `run` and `train` are both asked, as arguments of api.run and api.train."""
    return {
        "data": data,
        "method": method,
        "labelled": labelled,
        "exemplar": exemplar,
        "val": val,
        "test": test,
        "split": split,
        "recipes": recipe or (),
        "settings": _settings(settings, steps, seed),
        "cache": cache,
        "layout": layout,
        "device": device,
        "quiet": quiet,
    }


def _asking(command: Command) -> Command:
    """`command` with the options of `_asked` in place of its `**options`: typer reads them from the signature."""
    own, shared = (inspect.signature(function, eval_str=True).parameters for function in (command, _asked))
    named = [option for option in own.values() if option.kind is option.KEYWORD_ONLY]
    required = [option for option in named if option.default is option.empty]
    optional = [option for option in named if option.default is not option.empty]
    vars(command)["__signature__"] = inspect.Signature([*required, *shared.values(), *optional])
    return command


@_asking
def run(*, out: Annotated[Path, out_option("OUT", "The run folder.")], as_json: Json = False, **options: Any) -> None:
    """From masks for a few images to masks for all. Scans, splits, plans, prepares, trains, predicts every case that
    was not labelled for training, evaluates and reports. The same command continues where it stopped."""
    from fewmask import api
    from fewmask.listing import outcome_json, outcome_text

    outcome = api.run(out=out, **_asked(**options))
    show(outcome_json(outcome), outcome_text(outcome), as_json)


@_asking
def train(
    *,
    out: Annotated[Path, out_option("RUN", "The run folder.")],
    resume: Annotated[bool, typer.Option("--resume", help="Only continue: RUN must hold this run already.")] = False,
    **options: Any,
) -> None:
    """Train a model. The same command continues. Also: torchrun --nproc-per-node N -m fewmask train ..."""
    from fewmask import api

    run = api.train(out=out, resume=resume, **_asked(**options))
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


def compare(
    data: Data,
    out: Annotated[Path, out_option("DIR", "Where cells, tables and page go.")],
    methods: Annotated[
        str,
        typer.Option(
            "--methods",
            metavar="A,B,C",
            help="Names from `fewmask methods`; settings of one alone behind it, as in fixmatch+cutmix=0.",
        ),
    ],
    settings: Settings = None,
    labelled: Annotated[
        str | None,
        typer.Option("--labelled", metavar="1,3,7", help="Budgets: each N, N% or FILE, as for `fewmask run`."),
    ] = None,
    exemplars: Annotated[
        str | None,
        typer.Option("--exemplars", metavar="CASE[:SLICE],...", help="Learn from each of these alone, in turn."),
    ] = None,
    seeds: Annotated[
        str, typer.Option("--seeds", metavar="0,1,2", help="Seeds of the training; 3 make a claim.")
    ] = "0",
    val: Val = None,
    test: Test = None,
    recipe: Recipes = None,
    steps: Steps = None,
    cache: CacheFolder = None,
    layout: Layout = None,
    device: Device = "auto",
    workers: Annotated[
        int | None, typer.Option("--workers", metavar="N", min=1, help="Cells at once. Default: one a core, or GPU.")
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option("--ray", metavar="ADDRESS", help="A Ray cluster: local, auto, HOST:PORT or ray://HOST:PORT."),
    ] = None,
    curve: Annotated[bool, typer.Option("--curve", help="Also say what more masks would bring.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Methods x budgets x seeds. Runs every cell, then says which differences are more than luck. The same command
    continues where it stopped, and may name more methods, budgets and seeds."""
    from fewmask import api, listing
    from fewmask.comparison.grid import split_list

    made = api.compare(
        data,
        out,
        methods=split_list(methods),
        labelled=split_list(labelled or ""),
        exemplars=split_list(exemplars or ""),
        seeds=_whole_numbers("--seeds", seeds),
        val=val,
        test=test,
        recipes=recipe or (),
        settings=_settings(settings, steps, None),
        cache=cache,
        layout=layout,
        device=device,
        workers=workers,
        ray=ray,
        curve=curve,
        quiet=quiet,
    )
    show(made.found, listing.comparison_text(made.found, made.page), as_json)
    if made.failed:
        count = len(made.failed)
        raise Interrupted(f"{count} cell{'s' * (count > 1)} failed; the same command tries again")


def _whole_numbers(option: str, text: str) -> list[int]:
    numbers = [part.strip() for part in text.split(",")]
    for number in numbers:
        if not number.isdecimal():
            raise SettingsError(f"{option} {text}: '{number}' is no whole number; write for example {option} 0,1,2")
    return [int(number) for number in numbers]


def _settings(assignments: Sequence[str] | None, steps: int | None, seed: int | None) -> dict[str, Any]:
    """key=value together with the options that stand for one."""
    from fewmask.config import parse_assignments

    options = {"steps": steps, "seed": seed}
    named = [f"train.{key}={value}" for key, value in options.items() if value is not None]
    return parse_assignments([*(assignments or ()), *named])
