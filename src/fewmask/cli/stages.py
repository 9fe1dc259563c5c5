"""The commands that do one stage of the job: scan, split, prepare, predict, evaluate, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fewmask.cli.options import (
    CatalogueFolder,
    Data,
    Device,
    Json,
    Labelled,
    Layout,
    Quiet,
    Recipes,
    Settings,
    Test,
    Val,
    out_option,
)
from fewmask.cli.show import show


def scan(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of images and masks.")],
    out: Annotated[Path, out_option("CATALOGUE", "The catalogue to write.")],
    layout: Layout = None,
    fix: Annotated[
        Path | None, typer.Option("--fix", metavar="DIR", help="Write a repaired copy to DIR, and catalogue that.")
    ] = None,
    keep_ids: Annotated[
        bool, typer.Option("--keep-ids", help="Patients under their DICOM identifiers in place of codes.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Recognise the layout and check every file. Prints what was inferred; the same command continues."""
    from fewmask import intake
    from fewmask.listing import catalogue_json, catalogue_text

    catalogue = intake.scan(data, out, layout=layout, fix=fix, keep_ids=keep_ids, quiet=quiet)
    show(catalogue_json(catalogue), catalogue_text(catalogue, out), as_json)


def convert(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A published data set (acdc, decathlon, ...), or nnunet to export.")
    ],
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="The unpacked download; of nnunet: a run.")],
    out: Annotated[Path, out_option("DIR", "The catalogue to write; of nnunet: DatasetNNN_Name.")],
    masks: Annotated[
        Path | None,
        typer.Option("--masks", metavar="DIR", help="nnunet: masks and uncertainty. Default: the run's predictions."),
    ] = None,
    doubt: Annotated[
        float, typer.Option("--doubt", metavar="X", help="nnunet: entropy, 0 to 1, over which a voxel is ignored.")
    ] = 0.3,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Read a published download, or write a run for nnU-Net.

    A download is read as it comes, with its split, and its counts are checked.
    """
    from fewmask import intake
    from fewmask.listing import catalogue_json, catalogue_text, exported_json, exported_text

    if name == "nnunet":
        exported = intake.export_nnunet(source, out, masks=masks, doubt=doubt, quiet=quiet)
        show(exported_json(exported), exported_text(exported), as_json)
    else:
        catalogue = intake.convert(name, source, out, quiet=quiet)
        show(catalogue_json(catalogue), catalogue_text(catalogue, out), as_json)


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
    from fewmask.data.budget import labelled_voxels
    from fewmask.data.catalogue import open_catalogue
    from fewmask.data.split_file import write_split
    from fewmask.data.splits import choose_split
    from fewmask.listing import split_json, split_text
    from fewmask.order import grouped_by

    opened = grouped_by(open_catalogue(catalogue), group)
    roles, reasons = choose_split(opened, labelled, val, test, seed)
    voxels = labelled_voxels(opened, roles)
    write_split(roles, out)
    show(split_json(roles, opened, voxels), split_text(reasons, voxels, out), as_json)


def suggest_exemplar(
    data: Data,
    split: Annotated[
        Path | None, typer.Option("--split", metavar="split.json", help="Choose from its training cases alone.")
    ] = None,
    layout: Layout = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Which image to label if only one can be. The one most like all others; no mask is looked at."""
    from fewmask.data.catalogue import open_catalogue
    from fewmask.data.split_file import read_split
    from fewmask.data.splits import check_split
    from fewmask.exemplar import explain, suggest

    catalogue = open_catalogue(data, layout, quiet=quiet)
    roles = None if split is None else check_split(read_split(split), catalogue)
    found = suggest(catalogue, roles, quiet=quiet)
    show(found.to_json(), "\n".join(explain(found)), as_json)


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


def predict(
    model: Annotated[Path, typer.Argument(metavar="RUN|MODEL", help="A run folder or a model folder.")],
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Files, folders or catalogues.")],
    out: Annotated[Path, out_option("DIR", "Where the masks go.")],
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also write each class's probability.")
    ] = False,
    uncertainty: Annotated[bool, typer.Option("--uncertainty", help="Also write a map of the entropy.")] = False,
    samples: Annotated[
        int,
        typer.Option(
            "--samples",
            metavar="R",
            min=1,
            help="Predictions to average where a model draws at random; writes its probabilities and entropy, too.",
        ),
    ] = 1,
    keep_samples: Annotated[bool, typer.Option("--keep-samples", help="Also write the mask of each sample.")] = False,
    trust: Annotated[
        str,
        typer.Option("--trust", metavar="none|quick|full", help="Opinions that trust.csv rests on: 2 more, or all."),
    ] = "quick",
    format: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="nifti|nrrd|png|dicom-seg", help="File format. Default: PNG for pictures, else NIfTI."
        ),
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
        keep_samples=keep_samples,
        trust=trust,
        format=format,
        flips=flips,
        device=device,
        quiet=quiet,
    )
    typer.echo(f"{len(written)} files in {out}")


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
    show(summary, listing.summary_text(summary), as_json)


def audit(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run whose method rectifies pseudo-labels.")],
    out: Annotated[Path, out_option("DIR", "Where audit.csv, audit.json and pictures go.")],
    against: Annotated[
        Path | None, typer.Option("--against", metavar="RUN2", help="A control run, such as one without diffusion.")
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option("--reference", metavar="CATALOGUE", help="Masks of the unlabelled cases. Default: val's masks."),
    ] = None,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Pseudo-labels before and after rectification. With controls, on masks that training did not see."""
    from fewmask import job, listing

    found = job.audit(run, out, against=against, reference=reference, device=device, quiet=quiet)
    show(found, listing.audit_text(found), as_json)


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.")],
    out: Annotated[Path, out_option("report.html", "The file to write.")],
    volumes: Annotated[
        int, typer.Option("--volumes", metavar="N", help="Least trusted cases of one run to show whole, in 3-D.")
    ] = 0,
) -> None:
    """One HTML file about a run, or several. Self-contained; opens offline."""
    from fewmask.report import report as write_report

    typer.echo(write_report(runs, out, volumes=volumes))
