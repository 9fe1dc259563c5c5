"""What a run is asked for, remembered in its folder; and scan -> split -> plan -> prepare from it.

The same order continues a run folder, another one is refused.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from fewmask import config, resolution
from fewmask.choice import choose_method
from fewmask.config import Config, nearest
from fewmask.data.budget import shown
from fewmask.data.cache import Cache, Preparation
from fewmask.data.catalogue import Catalogue, open_catalogue, read_catalogue, write_catalogue
from fewmask.data.prepare import prepare
from fewmask.data.split_file import read_split, write_split
from fewmask.data.split_request import Exemplar
from fewmask.data.splits import check_split, choose_split
from fewmask.device import check_name
from fewmask.errors import DataError, SettingsError
from fewmask.plan import Rank, make_plan, plan_rank
from fewmask.progress import say
from fewmask.recipe import load_recipe
from fewmask.resolution import Request
from fewmask.runs import REQUEST, Run, atomic_write, writing
from fewmask.types import Split


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a run was asked for: the data, who is labelled, and the settings.

    labelled, val, test: as in `choose_split`, None: as a recipe says; exemplar: one `case` or `case:slice` in place of
    `labelled`; split: a split.json in place of all four.  cache None: inside the run folder.  device, cache and quiet
    may change between sittings; the rest may not.
    """

    data: Path
    request: Request = field(default_factory=Request)
    labelled: str | None = None
    exemplar: str | None = None
    val: str | None = None
    test: str | None = None
    split: Path | None = None
    layout: str | None = None
    cache: Path | None = None
    device: str = "auto"
    quiet: bool = False

    def __post_init__(self) -> None:
        if self.exemplar is not None and self.labelled is not None:
            raise SettingsError("--exemplar and --labelled were both given; the exemplar is the whole labelled list")
        given = [name for name in ("labelled", "exemplar", "val", "test") if getattr(self, name) is not None]
        if self.split is not None and given:
            raise SettingsError(f"--split and --{given[0]} were both given; the split says who plays which role")
        check_name(self.device)

    def lasting(self) -> dict[str, Any]:
        """The part that must stay the same when a run is continued, as plain values."""
        return {
            "data": str(self.data.resolve()),
            "method": self.request.method,
            "recipes": list(self.request.recipes),
            "settings": json.loads(json.dumps(self.request.settings)),
            "labelled": self.labelled,
            "exemplar": self.exemplar,
            "val": self.val,
            "test": self.test,
            "split": None if self.split is None else str(self.split.resolve()),
            "layout": self.layout,
        }


@dataclass(frozen=True, kw_only=True)
class Ready:
    """Everything that training needs: who, with which settings, from which arrays."""

    catalogue: Catalogue
    split: Split
    config: Config
    cache: Cache


def open_run(out: Path, data: Path | None = None) -> Run:
    """The run folder, made if need be.  Raises SettingsError where nothing can be written there, or it is `data`."""
    if data is not None and out.resolve() == data.resolve():
        raise SettingsError(f"--out {out}: the folder of the data; name another one, results are no data")
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out) as file:
            file.write(b"\0")
    return Run(out)


def make_ready(order: Order, run: Run) -> Ready:
    """Scan, split, plan and prepare, or read what an earlier sitting left in the run folder.

    What the folder remembers is written when all of this is done, so a command that was refused leaves nothing that the
    corrected one, or corrected data, would have to agree with; the cache beside it knows by itself what is current.
    """
    _compare(order, run)
    resolution.trial(resolution.resolve(order.request).config)  # a mistake is said before the scan, which may take long
    catalogue = _catalogue(order, run)
    split = _split(order, run, catalogue)
    settings = _settings(order, run, catalogue, split)
    _check_unlabelled(settings, split)
    preparation = preparation_for(catalogue, settings.plan)
    cache = prepare(catalogue, split, preparation, order.cache or run.root / "cache", quiet=order.quiet)
    _check_classes(settings, catalogue, split, cache, order.quiet)
    if not (run.root / REQUEST).exists():
        atomic_write(run.root / REQUEST, json.dumps(order.lasting(), indent=2) + "\n")
    if not (run.catalogue / "dataset.yaml").exists():
        write_catalogue(catalogue, run.catalogue, absolute=True)  # a run is moved without its data
    if not run.split.exists():
        write_split(split, run.split)
    if not run.config.exists():
        atomic_write(run.config, yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True))
    return Ready(catalogue=catalogue, split=split, config=settings, cache=cache)


def _catalogue(order: Order, run: Run) -> Catalogue:
    if (run.catalogue / "dataset.yaml").exists():
        return read_catalogue(run.catalogue)
    catalogue = open_catalogue(order.data, order.layout, quiet=order.quiet)
    for finding in catalogue.findings:
        say(f"scan: {finding}", order.quiet)
    return catalogue


def preparation_for(catalogue: Catalogue, plan: config.Plan) -> Preparation:
    """The cache settings of a plan: a 2-D size is that of the prepared slices, a 3-D size is a patch of the volume."""
    return Preparation(
        dims=plan.dims,
        size=plan.size if plan.dims == 2 else None,
        spacing_mm=plan.spacing_mm,
        zoom=plan.zoom,
        channels=len(catalogue.channels),
    )


def prepare_cache(order: Order) -> Cache:
    """Scan, split, plan and prepare without a run: a cache that any run with the same plan finds complete."""
    catalogue = open_catalogue(order.data, order.layout, quiet=order.quiet)
    split = check_split(read_split(order.split), catalogue)
    preparation = preparation_for(catalogue, plan_settings(order, catalogue, split).plan)
    return prepare(catalogue, split, preparation, order.cache, quiet=order.quiet)


def plan_settings(order: Order, catalogue: Catalogue, split: Split) -> Config:
    """The settings with nothing left open; says each choice of the plan and its reason."""
    wanted = resolution.resolve(order.request).config.plan
    rank = plan_rank(catalogue, split, wanted, order.device)
    resolved = _resolved(order, catalogue, split, rank)
    plan = resolved.config.plan
    planned = make_plan(catalogue, split, rank, plan, resolved.came_from("plan.size"), resolved.fixed())
    for name, value, reason in planned.reasons:
        shown = list(value) if isinstance(value, tuple) else value
        say(f"plan: {name}={shown}  ({reason})", order.quiet)
    return resolved.config.model_copy(update={"plan": planned.settings})


def _resolved(order: Order, catalogue: Catalogue, split: Split, rank: Rank) -> resolution.Resolved:
    """The settings, with the method that was asked for or that suits the data."""
    if resolution.asked_method(order.request) is not None:
        return resolution.resolve(order.request, rank.tier, rank.dims)
    method, reason = choose_method(
        unlabelled=_unlabelled(split),
        dims=rank.dims,
        labelled=len({catalogue.by_id[case].patient for case in split.labelled_slices}),
        classes=len(catalogue.labels) - 1,
    )
    say(f"plan: method.name={method}  ({reason})", order.quiet)
    try:
        return resolution.resolve(replace(order.request, method=method), rank.tier, rank.dims)
    except SettingsError as error:
        raise SettingsError(f"{error} (method {method}, chosen by the data: {reason})") from None


def split_for(order: Order, catalogue: Catalogue) -> tuple[Split, tuple[str, ...]]:
    """The split that was ordered (a file, one exemplar, or the rules of `choose_split`) and a line for each role."""
    if order.split is not None:
        split = check_split(read_split(order.split), catalogue)
        return split, (f"as {order.split} says",)
    asked = {"labelled": order.labelled, "val": order.val, "test": order.test}
    for recipe in map(load_recipe, reversed(order.request.recipes)):  # the later one wins, the command over all
        for role, amount in recipe.split.model_dump(exclude_none=True).items():
            asked[role] = asked[role] or str(amount)
    labelled = asked["labelled"] if order.exemplar is None else Exemplar(order.exemplar)
    return choose_split(catalogue, labelled, asked["val"], asked["test"])


def _compare(order: Order, run: Run) -> None:
    """Raise SettingsError naming the first difference from what the run folder was begun with."""
    path = run.root / REQUEST
    if not path.exists():
        return
    difference = resolution.first_difference(json.loads(path.read_text(encoding="utf-8")), order.lasting())
    if difference:
        raise SettingsError(f"{run.root} holds another run: {difference}; repeat its command or choose another --out")


def _split(order: Order, run: Run, catalogue: Catalogue) -> Split:
    if run.split.exists():
        split = read_split(run.split)
        if order.split is not None and order.split.exists() and split_for(order, catalogue)[0] != split:
            raise SettingsError(
                f"{order.split}: changed since {run.root} was begun with it; bring it back or choose another --out"
            )
        return split
    split, reasons = split_for(order, catalogue)
    for reason in reasons:
        say(f"split: {reason}", order.quiet)
    return split


def _settings(order: Order, run: Run, catalogue: Catalogue, split: Split) -> Config:
    """Plan once; a continued run keeps its settings whatever machine it continues on."""
    if run.config.exists():
        values = yaml.safe_load(run.config.read_text(encoding="utf-8"))
        return config.validated(Config, values, where=str(run.config))
    return plan_settings(order, catalogue, split)


def _unlabelled(split: Split) -> bool:
    """Whether any image, or slice of one, is unlabelled."""
    return bool(split.unlabelled) or any(slices is not None for slices in split.labelled_slices.values())


def _check_unlabelled(settings: Config, split: Split) -> None:
    """Raise SettingsError where the method learns from unlabelled images and there is none."""
    method = resolution.trial(settings)
    if (
        method.views().unlabelled
        and any(stage.unlabelled_batch for stage in method.stages())
        and not _unlabelled(split)
    ):
        raise SettingsError(
            f"method {settings.method['name']} learns from unlabelled images and there is none; "
            "use --method supervised, a smaller --labelled, or add images without masks"
        )


def _check_classes(settings: Config, catalogue: Catalogue, split: Split, cache: Cache, quiet: bool) -> None:
    """Say which classes no labelled voxel shows; raise DataError where the method needs more of one than there is.

    Raises SettingsError where `method.allow_missing` names what is no class.
    """
    counts, method = shown(cache, split, catalogue.labels.names), resolution.trial(settings)
    if method.least_shown:
        allowed = method.config.allow_missing
        unknown = next((name for name in allowed if name not in counts), None)
        if unknown is not None:
            raise SettingsError(f"method.allow_missing: no class '{unknown}'{nearest(unknown, counts)}")
        few = {name: count for name, count in counts.items() if count < method.least_shown and name not in allowed}
        if few:
            told = ", ".join(f"{name} ({count or 'no'} voxel{'s' * (count != 1)})" for name, count in few.items())
            raise DataError(
                f"the labelled images show too little of {told}, as prepared; {settings.method['name']} needs "
                f"{method.least_shown} of each class: label an image that shows them, or go without by "
                f"'method.allow_missing=[{','.join([*allowed, *few])}]'"
            )
    missing = [name for name, count in counts.items() if not count]
    if missing:
        say(f"split: no labelled image shows {', '.join(missing)}; it cannot be learnt", quiet)


def grouped_by(catalogue: Catalogue, group: str) -> Catalogue:
    """The catalogue with `patient` or `site` as the unit that no role divides."""
    if group == "patient":
        return catalogue
    if group != "site":
        raise SettingsError(f"--group {group}: choose patient or site")
    nameless = next((case.id for case in catalogue.cases if not case.site), None)
    if nameless is not None:
        raise SettingsError(f"--group site: case {nameless} has no site; fill that column of cases.csv")
    return replace(catalogue, cases=tuple(replace(case, patient=case.site) for case in catalogue.cases))
