"""Who plays which role in each budget: decided once for all methods and seeds, and scored on the same cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from fewmask.comparison.grid import Budget, Grid, slug
from fewmask.data.catalogue import Catalogue, open_catalogue, read_catalogue, write_catalogue
from fewmask.data.prepare import prepare
from fewmask.data.split_file import read_split, write_split
from fewmask.errors import DataError, SettingsError
from fewmask.order import Order, plan_settings, preparation_for, split_for
from fewmask.progress import say
from fewmask.types import Split

REQUEST = "compare.json"
"""What a folder's comparison shares; methods, budgets and seeds may be added to it.  It is written last: without it
nothing else in the folder is of a comparison that began."""


def shared_catalogue(order: Order, out: Path) -> Catalogue:
    """That of an earlier sitting, or of a scan."""
    if (out / REQUEST).is_file():
        return read_catalogue(out / "catalogue")
    catalogue = open_catalogue(order.data, order.layout, quiet=order.quiet)
    for finding in catalogue.findings:
        say(f"scan: {finding}", order.quiet)
    return catalogue


def shared_splits(order: Order, grid: Grid, catalogue: Catalogue, out: Path) -> dict[Budget, Split]:
    """The roles of each budget.

    Raises DataError where budgets would be scored on different cases, or on none; SettingsError where cells of an
    earlier sitting had others.
    """
    splits: dict[Budget, Split] = {}
    again = (out / REQUEST).is_file()
    for budget in grid.budgets:
        asked = {"exemplar": budget.name} if budget.exemplar else {"labelled": budget.name}
        splits[budget], reasons = split_for(replace(order, **asked), catalogue)
        before = split_path(out, budget)
        if again and before.is_file() and read_split(before) != splits[budget]:
            raise SettingsError(
                f"{out} holds another comparison: with {budget.name} labelled other cases played the roles; "
                "give the same lists again or choose another --out"
            )
        for reason in reasons:
            say(f"split {budget.name}: {reason}", order.quiet or again)
    scored = {budget: _scored(split, catalogue) for budget, split in splits.items()}
    first = grid.budgets[0]
    for budget, (role, cases) in scored.items():
        if not cases:
            raise DataError(
                f"{catalogue.name}: with {budget.name} labelled no test or val case with a mask is left to score; "
                "add --test N or --val N, and fewer --labelled if there are not enough masks"
            )
        if (role, cases) != scored[first]:
            raise DataError(
                f"{catalogue.name}: {first.name} and {budget.name} labelled would be scored on different cases "
                f"({len(scored[first][1])} of {scored[first][0]}, {len(cases)} of {role}); add --test N, and --val N"
            )
    if len({split.val for split in splits.values()}) > 1:
        say("compare: val differs between budgets, so checkpoints are not chosen alike; --val N sets it", order.quiet)
    return splits


def _scored(split: Split, catalogue: Catalogue) -> tuple[str, tuple[str, ...]]:
    """The role that is reported, and its cases with a mask."""
    for role in ("test", "val"):
        cases = tuple(case for case in split.cases(role) if catalogue.by_id[case].label is not None)
        if cases:
            return role, cases
    return "test", ()


def split_path(out: Path, budget: Budget) -> Path:
    """The split.json that all cells of a budget read."""
    return out / "splits" / f"{slug(budget.name)}.json"


def write_shared(order: Order, out: Path, catalogue: Catalogue, splits: Mapping[Budget, Split]) -> None:
    """What all cells read: the cache of the first budget, which serves most of the others, catalogue and splits.

    order: that of the first method.
    """
    first = next(iter(splits.values()))
    plan = plan_settings(replace(order, quiet=True), catalogue, first).plan
    prepare(catalogue, first, preparation_for(catalogue, plan), order.cache or out / "cache", quiet=order.quiet)
    if not (out / REQUEST).is_file():
        write_catalogue(catalogue, out / "catalogue", absolute=True)
    for budget, split in splits.items():
        write_split(split, split_path(out, budget))
