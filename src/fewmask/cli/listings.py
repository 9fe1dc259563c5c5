"""The commands that look something up: methods, config, doctor.  They start at once: none imports torch."""

from __future__ import annotations

from typing import Annotated

import typer

from fewmask.cli.options import Json, Settings
from fewmask.cli.show import show


def methods(as_json: Json = False) -> None:
    """The methods. Name, paper, what each needs."""
    from fewmask import listing

    rows = listing.method_rows()
    show(rows, listing.table(rows), as_json)


def config(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe's name or YAML file.")],
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """All settings, with where each came from. Add plan.dims=2 or plan.dims=3 for those that depend on it."""
    from fewmask import listing
    from fewmask.config import parse_assignments

    rows = listing.setting_rows(recipe, parse_assignments(settings or ()))
    show(rows, listing.table(rows), as_json)


def doctor(
    devices: Annotated[bool, typer.Option("--devices", help="Also ask torch for devices (seconds).")] = False,
    as_json: Json = False,
) -> None:
    """Versions and missing optional parts. With the line that installs each."""
    from fewmask import doctor as examination

    found = examination.examine(devices=devices)
    show(found, examination.text(found), as_json)
