"""scan, train, predict, evaluate, run and compare: what the commands do, for Python; imported when first used.

Errors are those of the command line: SettingsError, DataError, OutOfMemory and Interrupted of fewmask.errors, all
ValueErrors whose message names the thing, the value and the remedy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fewmask import collection, config, job
from fewmask.comparison import compare as comparing
from fewmask.comparison.compare import Comparison
from fewmask.comparison.grid import split_list
from fewmask.data.catalogue import Catalogue
from fewmask.evaluation import evaluate as score
from fewmask.intake import convert, export_nnunet, scan
from fewmask.job import Outcome
from fewmask.order import Order
from fewmask.resolution import Request
from fewmask.runs import Run
from fewmask.trust import Level

__all__ = ["compare", "convert", "evaluate", "export_nnunet", "predict", "run", "scan", "train"]

StrPath = str | Path


def run(
    data: StrPath,
    out: StrPath,
    *,
    method: str | None = None,
    labelled: str | int | None = None,
    exemplar: str | None = None,
    val: str | int | None = None,
    test: str | int | None = None,
    split: StrPath | None = None,
    recipes: str | Sequence[str] = (),
    settings: Mapping[str, Any] | str | Sequence[str] = (),
    cache: StrPath | None = None,
    layout: str | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> Outcome:
    """The whole job: masks for every case that is not labelled, a model, metrics and a report in `out`.

    labelled: how many patients (3, "10%") or a file that lists cases; None: every case with a mask.  settings: nested
    values or `key=value` texts, or one.  The same call continues where an earlier one stopped.
    """
    order = _order(
        data,
        method=method,
        labelled=labelled,
        exemplar=exemplar,
        val=val,
        test=test,
        split=split,
        recipes=recipes,
        settings=settings,
        cache=cache,
        layout=layout,
        device=device,
        quiet=quiet,
    )
    return job.run(order, Path(out))


def train(
    data: StrPath,
    out: StrPath,
    *,
    method: str | None = None,
    labelled: str | int | None = None,
    exemplar: str | None = None,
    val: str | int | None = None,
    test: str | int | None = None,
    split: StrPath | None = None,
    recipes: str | Sequence[str] = (),
    settings: Mapping[str, Any] | str | Sequence[str] = (),
    cache: StrPath | None = None,
    layout: str | None = None,
    device: str = "auto",
    resume: bool = False,
    quiet: bool = False,
) -> Run:
    """Train into `out`; the model is the returned run's `.model`.  Arguments as in `run`.

    The same call continues where an earlier one stopped; resume: there must have been one.
    """
    order = _order(
        data,
        method=method,
        labelled=labelled,
        exemplar=exemplar,
        val=val,
        test=test,
        split=split,
        recipes=recipes,
        settings=settings,
        cache=cache,
        layout=layout,
        device=device,
        quiet=quiet,
    )
    return job.train(order, Path(out), resume)


def predict(
    model: StrPath,
    inputs: StrPath | Sequence[StrPath],
    out: StrPath,
    *,
    probabilities: bool = False,
    uncertainty: bool = False,
    samples: int = 1,
    keep_samples: bool = False,
    trust: Level = "quick",
    format: str | None = None,
    flips: bool = False,
    device: str = "auto",
    quiet: bool = False,
) -> list[Path]:
    """Masks of `inputs` (files, folders or catalogues) in `out`, on the grid of each image; returns their paths.

    model: a run folder or a model folder.  probabilities, uncertainty: also write each class's probability and the
    entropy.  samples: predictions to average where the model draws at random; several also write probabilities and
    entropy of their mean, and with keep_samples the mask of each.  trust: `quick` writes trust.csv, how good each
    mask probably is, from two further opinions, `full` from all that there are; `none`: no such file.  No mask is
    opened; masks that are there already are kept.
    """
    several = [inputs] if isinstance(inputs, str | Path) else inputs
    inside = Run(Path(model)).model
    return collection.predict(
        inside if inside.is_dir() else Path(model),
        [Path(entry) for entry in several],
        Path(out),
        probabilities=probabilities,
        uncertainty=uncertainty,
        samples=samples,
        keep_samples=keep_samples,
        trust=trust,
        format=format,
        settings=config.Predict(flips=flips),
        device=device,
        quiet=quiet,
    )


def evaluate(
    predictions: StrPath,
    reference: Catalogue | StrPath,
    out: StrPath,
    *,
    cases: Sequence[str] | None = None,
    split: str = "test",
    protocol: str = "auto",
    quiet: bool = False,
) -> dict[str, Any]:
    """Compare masks with reference masks; writes metrics.csv and summary.json to `out` and returns the summary.

    cases: ids, None for all with a mask; split: what they are called in the summary.  A missing prediction is a
    DataError.
    """
    reference = reference if isinstance(reference, Catalogue) else Path(reference)
    return score(Path(predictions), reference, Path(out), cases, split, protocol, quiet)


def compare(
    data: StrPath,
    out: StrPath,
    *,
    methods: str | Sequence[str],
    labelled: str | int | Sequence[str | int] = (),
    exemplars: str | Sequence[str] = (),
    seeds: int | Sequence[int] = (0,),
    val: str | int | None = None,
    test: str | int | None = None,
    recipes: str | Sequence[str] = (),
    settings: Mapping[str, Any] | str | Sequence[str] = (),
    cache: StrPath | None = None,
    layout: str | None = None,
    device: str = "auto",
    workers: int | None = None,
    ray: str | None = None,
    curve: bool = False,
    quiet: bool = False,
) -> Comparison:
    """Every method with every budget and seed; tables, tests and a page in `out`.

    methods: names, each with settings of its own behind it if wanted (`fixmatch+cutmix=0`).  labelled: budgets, each as
    in `run`; exemplars: cases or case:slice to learn from alone, as draws of one budget.  All three may be a text with
    commas, as on the command line.  workers: cells at once, None: one a core or GPU; ray: a cluster's address in place
    of them.  curve: also say what more masks would bring.  The same call continues; methods, budgets and seeds may be
    added.
    """
    order = _order(
        data,
        method=None,
        labelled=None,
        exemplar=None,
        val=val,
        test=test,
        split=None,
        recipes=recipes,
        settings=settings,
        cache=cache,
        layout=layout,
        device=device,
        quiet=quiet,
    )
    plan = comparing.Plan(
        methods=_several(methods),
        labelled=_several(labelled),
        exemplars=_several(exemplars),
        seeds=(seeds,) if isinstance(seeds, int) else tuple(seeds),
        order=order,
        workers=workers,
        ray=ray,
        curve=curve,
    )
    return comparing.compare(plan, Path(out))


def _order(
    data: StrPath,
    *,
    method: str | None,
    labelled: str | int | None,
    exemplar: str | None,
    val: str | int | None,
    test: str | int | None,
    split: StrPath | None,
    recipes: str | Sequence[str],
    settings: Mapping[str, Any] | str | Sequence[str],
    cache: StrPath | None,
    layout: str | None,
    device: str,
    quiet: bool,
) -> Order:
    assignments = [settings] if isinstance(settings, str) else settings
    nested = assignments if isinstance(assignments, Mapping) else config.parse_assignments(assignments)
    return Order(
        data=Path(data),
        request=Request(
            method=method, recipes=(recipes,) if isinstance(recipes, str) else tuple(recipes), settings=nested
        ),
        labelled=_text(labelled),
        exemplar=exemplar,
        val=_text(val),
        test=_text(test),
        split=None if split is None else Path(split),
        layout=layout,
        cache=None if cache is None else Path(cache),
        device=device,
        quiet=quiet,
    )


def _several(values: str | int | Sequence[str | int]) -> tuple[str, ...]:
    """A text is a list as the command line has it: to Python it would be a sequence of letters."""
    if isinstance(values, int):
        return (str(values),)
    return tuple(split_list(values)) if isinstance(values, str) else tuple(str(value) for value in values)


def _text(count: str | int | None) -> str | None:
    return None if count is None else str(count)
