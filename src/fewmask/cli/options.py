"""The options that several commands share: their names, what they stand for, their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

Data = Annotated[Path, typer.Argument(metavar="DATA", help="Folder of images and masks, or a catalogue.")]
CatalogueFolder = Annotated[Path, typer.Argument(metavar="CATALOGUE", help="A catalogue, or a folder to scan.")]
Settings = Annotated[
    list[str] | None, typer.Argument(metavar="[key=value]...", help="Settings, for example train.steps=3000.")
]
Method = Annotated[
    str | None,
    typer.Option("--method", metavar="M", help="A name from `fewmask methods`; auto, the default, goes by the data."),
]
Labelled = Annotated[
    str | None,
    typer.Option(
        "--labelled",
        metavar="N|N%|FILE",
        help="Patients or sequences to learn from: a number, a share, or a file of case or case:slice lines; "
        "'20 frames' and '10% frames' count single images. "
        "Not given: all that have a mask.",
    ),
]
Exemplar = Annotated[
    str | None, typer.Option("--exemplar", metavar="CASE[:SLICE]", help="Learn from this one case or slice.")
]
Val = Annotated[str | None, typer.Option("--val", metavar="N|FILE", help="Patients that choose the checkpoint.")]
Test = Annotated[str | None, typer.Option("--test", metavar="N|FILE", help="Patients that are only evaluated.")]
SplitFile = Annotated[
    Path | None, typer.Option("--split", metavar="split.json", help="Roles as `fewmask split` wrote them.")
]
Recipes = Annotated[
    list[str] | None, typer.Option("--recipe", metavar="R", help="A recipe's name or YAML file; repeatable.")
]
Steps = Annotated[int | None, typer.Option("--steps", metavar="N", help="Training budget in batches.")]
Seed = Annotated[int | None, typer.Option("--seed", metavar="S", help="Seed of the training.")]
CacheFolder = Annotated[
    Path | None, typer.Option("--cache", metavar="DIR", help="Prepared images, shared by runs. Default: OUT/cache.")
]
Layout = Annotated[str | None, typer.Option("--layout", metavar="NAME", help="The layout, if not to be recognised.")]
Device = Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda", help="Where to compute.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say nothing but errors and results.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def out_option(metavar: str, text: str) -> Any:
    """--out, which every command that writes requires."""
    return typer.Option("--out", metavar=metavar, help=text)
