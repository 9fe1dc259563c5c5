"""The command line.  A handler imports its stage and calls one function, so that help and listings start at once."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from fewmask import failure
from fewmask.options import (
    CacheFolder,
    CatalogueFolder,
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

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit status: 0 done, 2 settings, 3 data, 4 memory or disk, 5 interrupted (the same command continues). "
    "Add --debug to any command to see where an error arose.",
)


def _version(asked: bool) -> None:
    if asked:
        from fewmask import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def fewmask(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Masks for every image of a collection of which few have masks."""


@app.command()
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
    _show(outcome_json(outcome), outcome_text(outcome), as_json)


@app.command()
def demo(
    out: Annotated[Path, out_option("OUT", "Where data, runs and report go.")] = Path("fewmask-demo"),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """The whole job on generated phantoms. FixMatch against supervised, 3 labelled patients; CPU, under 3 minutes."""
    from fewmask import demo as demonstration

    result = demonstration.run(out, quiet=quiet)
    _show(result.to_json(), result.text(), as_json)


@app.command()
def scan(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of images and masks.")],
    out: Annotated[Path, out_option("CATALOGUE", "The catalogue to write.")],
    layout: Layout = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Recognise the layout and check every file. Prints what was inferred."""
    from fewmask.data.catalogue import write_catalogue
    from fewmask.data.scan import scan as scan_folder
    from fewmask.listing import catalogue_json, catalogue_text

    catalogue = scan_folder(data, layout, quiet=quiet)
    write_catalogue(catalogue, out)
    _show(catalogue_json(catalogue), catalogue_text(catalogue, out), as_json)


@app.command()
def split(
    catalogue: CatalogueFolder,
    out: Annotated[Path, out_option("split.json", "The file to write.")],
    labelled: Labelled = None,
    val: Val = None,
    test: Test = None,
    group: Annotated[
        str, typer.Option("--group", metavar="patient|site", help="What N counts and no role divides.")
    ] = "patient",
    seed: Annotated[int, typer.Option("--seed", metavar="S", help="Seed of the choice.")] = 0,
    as_json: Json = False,
) -> None:
    """Decide who is labelled, val and test. A layout's own lists are used where it has them."""
    from fewmask.data.catalogue import open_catalogue
    from fewmask.data.splits import choose_split, write_split
    from fewmask.listing import split_json, split_text
    from fewmask.order import grouped_by

    opened = grouped_by(open_catalogue(catalogue), group)
    roles, reasons = choose_split(opened, labelled, val, test, seed)
    write_split(roles, out)
    _show(split_json(roles, opened), split_text(reasons, out), as_json)


@app.command()
def prepare(
    catalogue: CatalogueFolder,
    split: Annotated[Path, typer.Option("--split", metavar="split.json", help="Roles from `fewmask split`.")],
    out: Annotated[Path, out_option("CACHE", "The cache folder; give it as --cache to run and train.")],
    settings: Settings = None,
    recipe: Recipes = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Plan, and write the cache to train from. It serves every method and budget with the same plan."""
    from fewmask.config import parse_assignments
    from fewmask.order import Order, prepare_cache
    from fewmask.resolution import Request

    request = Request(recipes=tuple(recipe or ()), settings=parse_assignments(settings or ()))
    order = Order(data=catalogue, request=request, split=split, cache=out, device=device, quiet=quiet)
    typer.echo(prepare_cache(order).root)


@app.command()
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
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run that RUN holds.")] = False,
    quiet: Quiet = False,
) -> None:
    """Train a model. Also: torchrun --nproc-per-node N -m fewmask train ..."""
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
    typer.echo(f"model: {run.model}")


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(metavar="RUN|MODEL", help="A run folder or a model folder.")],
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Files, folders or catalogues.")],
    out: Annotated[Path, out_option("DIR", "Where the masks go.")],
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also write each class's probability.")
    ] = False,
    uncertainty: Annotated[bool, typer.Option("--uncertainty", help="Also write a map of the entropy.")] = False,
    samples: Annotated[
        int, typer.Option("--samples", metavar="R", min=1, help="Predictions to average where a model draws at random.")
    ] = 1,
    format: Annotated[
        str | None, typer.Option("--format", metavar="nifti|png", help="File format. Default: that of the input.")
    ] = None,
    flips: Annotated[bool, typer.Option("--flips", help="Average over mirrored copies; slower.")] = False,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Masks for new images. On the grid of each image; never needs a mask. The same command continues."""
    from fewmask import api

    written = api.predict(
        model,
        inputs,
        out,
        probabilities=probabilities,
        uncertainty=uncertainty,
        samples=samples,
        format=format,
        flips=flips,
        device=device,
        quiet=quiet,
    )
    typer.echo(f"{len(written)} files in {out}")


@app.command()
def evaluate(
    predictions: Annotated[Path, typer.Argument(metavar="PREDICTIONS", help="A folder of masks, or a run folder.")],
    reference: Annotated[Path, typer.Option("--reference", metavar="CATALOGUE|DIR", help="Where the true masks are.")],
    out: Annotated[Path, out_option("DIR", "Where metrics.csv and summary.json go.")],
    split: Annotated[
        str | None,
        typer.Option(
            "--split",
            metavar="ROLE",
            help="Role in split.json beside PREDICTIONS. Default: test; all without the file.",
        ),
    ] = None,
    protocol: Annotated[
        str,
        typer.Option("--protocol", metavar="auto|mm|voxel", help="Unit of distances. auto: mm where there is spacing."),
    ] = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Compare predicted masks with true ones. Case by case and class by class."""
    from fewmask import evaluation, listing

    folder, cases, role = evaluation.evaluated(predictions, split)
    summary = evaluation.evaluate(folder, reference, out, cases, role, protocol, quiet=quiet)
    _show(summary, listing.summary_text(summary), as_json)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.")],
    out: Annotated[Path, out_option("report.html", "The file to write.")],
) -> None:
    """One HTML file about a run, or several. Self-contained; opens offline."""
    from fewmask.report import report as write_report

    typer.echo(write_report(runs, out))


@app.command()
def methods(as_json: Json = False) -> None:
    """The methods. Name, paper, what each needs."""
    from fewmask import listing

    rows = listing.method_rows()
    _show(rows, listing.table(rows), as_json)


@app.command()
def config(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe's name or YAML file.")],
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """All settings, with where each came from. Add plan.dims=2 or plan.dims=3 for those that depend on it."""
    from fewmask import listing
    from fewmask.config import parse_assignments

    rows = listing.setting_rows(recipe, parse_assignments(settings or ()))
    _show(rows, listing.table(rows), as_json)


@app.command()
def doctor(
    devices: Annotated[bool, typer.Option("--devices", help="Also ask torch for devices (seconds).")] = False,
    as_json: Json = False,
) -> None:
    """Versions and missing optional parts. With the line that installs each."""
    from fewmask import doctor as examination

    found = examination.examine(devices=devices)
    _show(found, examination.text(found), as_json)


def _settings(assignments: Sequence[str] | None, steps: int | None, seed: int | None) -> dict[str, Any]:
    """key=value together with the options that stand for one."""
    from fewmask.config import merge, parse_assignments

    options = {"steps": steps, "seed": seed}
    named = {"train": {key: value for key, value in options.items() if value is not None}}
    return merge([("", parse_assignments(assignments or ())), ("", named)])[0]


def _show(values: Mapping[str, Any] | Sequence[Any], text: str, as_json: bool) -> None:
    typer.echo(json.dumps(values, indent=2, ensure_ascii=False) if as_json else text)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and leave with the exit status of cli.md; `--debug` lets errors show where they arose."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        app(args=[word for word in words if word != "--debug"], prog_name="fewmask")
    except SystemExit as ended:
        if ended.code == failure.TYPER_INTERRUPTED:
            typer.echo("fewmask: interrupted; the same command continues", err=True)
            raise SystemExit(failure.INTERRUPTED) from None
        raise
    except Exception as error:
        if debug:
            raise
        message, status = failure.explain(error)
        typer.echo(message, err=True)
        raise SystemExit(status) from None
    finally:
        signal.signal(signal.SIGTERM, before)
    raise SystemExit(0)


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt
