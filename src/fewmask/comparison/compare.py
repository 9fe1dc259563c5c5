"""The whole comparison: scan and split once, run every cell in a process of its own, write what the numbers carry."""

from __future__ import annotations

import json
import shlex
import signal
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from fewmask import resolution
from fewmask.comparison import curve
from fewmask.comparison.analysis import analyse
from fewmask.comparison.board import Board, board
from fewmask.comparison.cluster import Cluster, gpus_of, one_line
from fewmask.comparison.grid import Cell, Grid, make_grid
from fewmask.comparison.page import write_page
from fewmask.comparison.roles import REQUEST, shared_catalogue, shared_splits, split_path, write_shared
from fewmask.comparison.scores import Scores, read_scores, write_table
from fewmask.comparison.workers import Workers
from fewmask.config import merge, written
from fewmask.device import choose_device, cores
from fewmask.errors import Interrupted, SettingsError
from fewmask.order import REQUEST as RUN_REQUEST
from fewmask.order import Order, open_run
from fewmask.progress import say
from fewmask.runs import COMMAND, atomic_write, read_log
from fewmask.training.machine import choose_threads

REDRAW = 2.0
"""Seconds between two looks at the logs of running cells."""
ON_CPU = {"train": {"threads": 1, "workers": 0}}
"""One core a cell, so that the number of workers changes no result."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is compared, and how.  methods, labelled, exemplars, seeds: the grid.  order: what all runs share."""

    methods: tuple[str, ...]
    labelled: tuple[str, ...] = ()
    exemplars: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    order: Order
    workers: int | None = None
    ray: str | None = None
    curve: bool = False


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a comparison made.  failed: title of a cell -> reason."""

    folder: Path
    found: Mapping[str, Any]
    failed: Mapping[str, str] = field(default_factory=dict)

    @property
    def page(self) -> Path:
        return self.folder / "comparison.html"


class Pool(Protocol):
    """Who works off cells: `Workers` on this machine, `Cluster` on Ray."""

    def submit(self, order: Mapping[str, Any], log: Path) -> Future[int]: ...

    def close(self, *, abandon: bool = False) -> None: ...


def compare(plan: Plan, out: Path) -> Comparison:
    """Run what is left of the grid in `out`, and write comparison.csv, .json and .html from its finished cells.

    The tables are of the grid that is asked for: finished cells of methods, budgets and seeds that this call does not
    name stay, and are left out.  A cell that fails is reported and does not end the rest; the same call tries it again.
    Raises SettingsError and DataError before anything is trained where a name, a budget or a role cannot be meant;
    Interrupted on SIGINT and SIGTERM, when running cells have been saved and the tables written.
    """
    out = out.resolve()  # cells and other machines have a working folder of their own
    grid = make_grid(plan.methods, plan.labelled, plan.exemplars, plan.seeds, out)
    if plan.curve:
        _check_curve(budget.group for budget in grid.budgets if not budget.exemplar)
    if plan.ray is not None and plan.workers is not None:
        raise SettingsError("--ray and --workers were both given; a cluster decides how many cells run at once")
    if "seed" in plan.order.request.settings.get("train", {}):
        raise SettingsError("train.seed: each cell has its own; give --seeds")
    if (out / RUN_REQUEST).exists():
        raise SettingsError(f"--out {out}: the folder of a run; choose another --out")
    asked, kind = plan.order, _kind(plan)
    plan = replace(plan, order=_on_one_core(plan.order) if kind == "cpu" else plan.order)
    _check_settings(plan, grid)
    folder = open_run(out, asked.data)
    with folder.locked():
        lasting = asked.lasting() | {"device": kind}  # times of a CPU and a GPU do not belong in one table
        _check_request(lasting, out)
        catalogue = shared_catalogue(asked, out)
        splits = shared_splits(asked, grid, catalogue, out)
        patients = {
            budget.name: len({catalogue.by_id[case].patient for case in split.labelled_slices})
            for budget, split in splits.items()
        }
        if plan.curve:
            _check_curve(patients[budget.name] for budget in grid.budgets if not budget.exemplar)
        request = grid.entries[0].request(asked.request.recipes, asked.request.settings)
        write_shared(replace(asked, request=request, device=kind), out, catalogue, splits)
        atomic_write(out / REQUEST, json.dumps(lasting, indent=2) + "\n")

        failed: dict[Cell, str] = {}

        def save() -> Comparison:
            return _write(grid, out, catalogue.name, patients, failed, with_curve=plan.curve)

        try:
            _run(plan, kind, grid, out, failed, save)
            return save()
        except KeyboardInterrupt:
            save()
            done = sum(cell.record() is not None for cell in grid.cells)
            told = f"stopped with {done} of {len(grid.cells)} cells done"
            raise Interrupted(f"{told}; the same command continues") from None


def _kind(plan: Plan) -> str:
    """cpu or cuda: what cells run on, here or on the cluster.  Raises SettingsError where nobody answers there."""
    if plan.ray is None:
        return choose_device(plan.order.device).type
    gpus = gpus_of(plan.ray)
    if plan.order.device.startswith("cuda") and not gpus:
        raise SettingsError(f"--device {plan.order.device}: the cluster --ray {plan.ray} has no GPU; leave it out")
    return "cuda" if gpus and plan.order.device != "cpu" else "cpu"


def _on_one_core(order: Order) -> Order:
    """On the CPU a cell takes one core unless it is told otherwise."""
    settings = merge([("", ON_CPU), ("", order.request.settings)])[0]
    return replace(order, request=replace(order.request, settings=settings))


def _check_settings(plan: Plan, grid: Grid) -> None:
    """Say before anything is scanned what a method cannot be told."""
    shared = plan.order.request
    for entry in grid.entries:
        try:
            request = entry.request(shared.recipes, shared.settings)
            resolution.trial(resolution.resolve(request).config)
        except SettingsError as error:
            text = str(error)
            if "unknown setting 'method." in text:
                text += f" (method {entry.label}); a setting of one method is written behind it: NAME+key=value"
            raise SettingsError(text) from None


def _check_request(lasting: Mapping[str, Any], out: Path) -> None:
    """Raise SettingsError where the folder holds a comparison of other data, roles, settings or another device."""
    path = out / REQUEST
    if not path.is_file():
        return
    difference = resolution.first_difference(json.loads(path.read_text(encoding="utf-8")), lasting)
    if difference:
        raise SettingsError(f"{out} holds another comparison: {difference}; repeat its command or choose another --out")


def _check_curve(budgets: Iterable[str | int]) -> None:
    """budgets: as asked for, or their patients once these are known: lists and frames may be of as many patients."""
    different = len(set(budgets))
    if different < curve.LEAST_BUDGETS:
        raise SettingsError(
            f"--curve: needs {curve.LEAST_BUDGETS} budgets of different numbers of patients, and there "
            f"{'is' if different == 1 else 'are'} {different or 'none'}; give --labelled more numbers"
        )


def _run(plan: Plan, kind: str, grid: Grid, out: Path, failed: dict[Cell, str], save: Callable[[], Comparison]) -> None:
    """Work off the cells that are not finished, note in `failed` why one failed, and `save` whenever one ends."""
    left = [cell for cell in grid.cells if cell.record() is None]
    if not left:
        return
    pool = _pool(plan, kind, len(left))
    say(f"compare: {len(left)} of {len(grid.cells)} cells to run", plan.order.quiet)
    finished = False
    try:
        with board(grid, failed, plan.order.quiet) as shown:
            running = {pool.submit(_order(plan, cell, out), cell.log): cell for cell in left}
            while running:
                done, _ = wait(running, timeout=REDRAW, return_when=FIRST_COMPLETED)
                for future in done:
                    _report(running.pop(future), future, shown)
                if done and running:
                    save()
                shown.refresh()
        finished = True
    finally:
        pool.close(abandon=not finished)


def _report(cell: Cell, future: Future[int], shown: Board) -> None:
    try:
        status = future.result()
    except Exception as error:  # a node that is gone, as Ray says it
        shown.ended(cell, one_line(error))
        return
    shown.ended(cell, None if cell.record() is not None else reason(status, cell.log))


def reason(status: int, log: Path) -> str:
    """Why a cell ended with a status, in a line: the signal, or what it said last."""
    if status < 0:
        name = signal.Signals(-status).name
        lacking = ": killed from outside, or memory was full; try fewer --workers" if name == "SIGKILL" else ""
        return f"ended by {name}{lacking}"
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    lines = [line for line in text.splitlines() if line.strip()]
    said = lines[-1].removeprefix("fewmask: ") if lines else "it said nothing"
    return f"{said} (exit {status}, {log})"


def _pool(plan: Plan, kind: str, cells: int) -> Pool:
    threads = choose_threads(plan.order.request.settings.get("train", {}).get("threads", 0))
    if plan.ray is not None:
        return Cluster(plan.ray, cpus=threads if kind == "cpu" else 1, gpus=int(kind == "cuda"))
    if kind == "cpu":
        return Workers(["cpu"] * min(cells, plan.workers or max(1, cores() // threads)))
    import torch

    device = choose_device(plan.order.device)
    one = ":" in plan.order.device
    each = [str(device)] if one else [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    count = plan.workers or len(each)
    return Workers([each[worker % len(each)] for worker in range(min(cells, count))])


def _order(plan: Plan, cell: Cell, out: Path) -> dict[str, Any]:
    """What `fewmask.comparison.cell` reads: the arguments of api.run, and the command that does the same."""
    shared, budget, entry = plan.order.request, cell.budget, cell.entry
    settings = merge([("", shared.settings), ("", {"train": {"seed": cell.seed}})])[0]
    request = entry.request(shared.recipes, settings)
    cache = (plan.order.cache or out / "cache").resolve()
    recipes = [str(Path(name).resolve()) if name.endswith((".yaml", ".yml")) else name for name in request.recipes]
    run = {
        "data": str(out / "catalogue"),
        "out": str(cell.folder),
        "method": request.method,
        "split": str(split_path(out, budget)),
        "recipes": recipes,
        "settings": request.settings,
        "cache": str(cache),
    }
    words = ["fewmask", "run", run["data"], "--split", run["split"], "--cache", run["cache"], "--out", run["out"]]
    words += ["--method", request.method] if request.method else []
    words += [word for recipe in recipes for word in ("--recipe", recipe)]
    words += [f"{key}={written(value)}" for key, value in resolution.flat(request.settings).items()]
    return {"run": run, "command": words}


def _write(
    grid: Grid,
    out: Path,
    name: str,
    patients: Mapping[str, int],
    failed: Mapping[Cell, str],
    *,
    with_curve: bool,
) -> Comparison:
    """Write what the finished cells say; without any, comparison.json alone with what failed.

    patients: labelled ones of each budget.
    """
    scores = read_scores(grid, patients)
    told = {cell.title: why for cell, why in failed.items()}
    unfinished = [cell.title for cell in grid.cells if cell.record() is None and cell not in failed]
    found: dict[str, Any] = {"name": name, "seeds": list(grid.seeds), "failed": told}
    found |= {"unfinished": unfinished, **_provenance(scores)}
    if scores is not None:
        found |= analyse(scores, with_curve=with_curve)
        write_table(scores.results, out / "comparison.csv")
        write_page(found, out / "comparison.html")
    else:  # those of another grid would say something else than comparison.json
        for name in ("comparison.csv", "comparison.html"):
            (out / name).unlink(missing_ok=True)
    content = json.dumps(found, indent=2, allow_nan=False, ensure_ascii=False)
    atomic_write(out / "comparison.json", content + "\n")
    return Comparison(folder=out, found=found, failed=told)


def _provenance(scores: Scores | None) -> dict[str, Any]:
    """The command of this sitting; commits and steps of the cells, which may be of earlier ones."""
    words = COMMAND.get()
    cells = [result.cell.run for result in scores.results] if scores else []
    commits = {json.loads(run.environment.read_text(encoding="utf-8"))["git_commit"] for run in cells}
    steps = {read_log(run.log)[-1]["step"] for run in cells}
    return {
        "command": None if words is None else shlex.join(words),
        "git_commit": ", ".join(sorted(commit for commit in commits if commit)) or None,
        "steps": sorted(steps),
    }
