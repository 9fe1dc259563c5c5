"""The whole job: scan -> split -> plan -> prepare -> train -> predict -> evaluate -> report, each part done once."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fewmask import audit as auditing
from fewmask import changes, distributed
from fewmask.calibrate import calibrate
from fewmask.collection import predict, write_verdicts
from fewmask.data.catalogue import Catalogue, open_catalogue, read_catalogue
from fewmask.device import choose_device
from fewmask.errors import SettingsError
from fewmask.evaluation import evaluate
from fewmask.order import Order, Ready, make_ready, open_run
from fewmask.report import report as write_report
from fewmask.runs import REQUEST, Run, atomic_write
from fewmask.training import trainer
from fewmask.trust import Level


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a job made.

    summaries: role -> summary.json of its evaluation; empty where no case outside training has a mask.
    """

    run: Run
    predictions: tuple[Path, ...]
    summaries: Mapping[str, Mapping[str, Any]]
    report: Path


def run(order: Order, out: Path) -> Outcome:
    """Do the whole job in `out`, or what is left of it.

    Raises SettingsError where `out` holds another run or is in use; DataError, OutOfMemory and Interrupted from its
    parts.
    """
    if "RANK" in os.environ:
        raise SettingsError("fewmask run is one process; under torchrun use fewmask train, then fewmask predict")
    choose_device(order.device)  # a device that is not there is said before the folder is written
    folder = open_run(out, order.data)
    with folder.locked():
        ready = make_ready(order, folder)
        train_run(order, folder, ready)
        predictions = predict_run(order, folder, ready)
        summaries = evaluate_run(order, folder, ready)
        trust_run(folder, ready)
        audit_run(order, folder, ready)
        report = write_report([folder.root], folder.report)
    return Outcome(run=folder, predictions=predictions, summaries=summaries, report=report)


def train(order: Order, out: Path, resume: bool = False) -> Run:
    """Scan, split, plan, prepare and train into `out`; the model is in `out`/model.

    What an earlier sitting left in `out` is continued by the same order; resume: there must be such a run.  Under
    torchrun the first process prepares and the others wait for it.
    """
    folder = Run(out)
    if resume and not (out / REQUEST).exists():
        raise SettingsError(f"--resume: {out} holds no run; leave --resume out to begin one")
    if _follows(order.device):
        train_run(order, folder, make_ready(replace(order, quiet=True), folder))
        return folder
    choose_device(order.device, distributed.local_rank())
    with open_run(out, order.data).locked():
        ready = make_ready(order, folder)
        distributed.barrier()
        train_run(order, folder, ready)
    return folder


def _follows(device: str) -> bool:
    """Whether this is a process of torchrun that only joins in; then returns once the first one has prepared."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return False
    distributed.start(choose_device(device, distributed.local_rank()))
    if distributed.rank() == 0:
        return False
    distributed.barrier()
    return True


def train_run(order: Order, folder: Run, ready: Ready) -> None:
    """Train until the model folder is there; a complete one is kept."""
    trainer.train(
        ready.catalogue, ready.split, ready.cache, ready.config, folder, device=order.device, quiet=order.quiet
    )


def predict_run(order: Order, folder: Run, ready: Ready) -> tuple[Path, ...]:
    """Masks of every case that is not labelled, in predictions/; val, which calibrates the trust, by all members."""
    split, out = ready.split, folder.predictions
    val = _predict(order, folder.model, ready, split.val, out, "full") if split.val else ()
    return val + _predict(order, folder.model, ready, (*split.test, *split.unlabelled), out, "quick")


def evaluate_run(order: Order, folder: Run, ready: Ready) -> dict[str, Mapping[str, Any]]:
    """Evaluate test and val as far as they have masks; role -> summary.

    evaluation/ holds test, or val where there is no test; evaluation/val holds val beside a test.  Where val chose the
    checkpoint, evaluation/last holds the last one's.  Unlabelled cases stay unopened, whether they have masks or not.
    """
    catalogue, split = ready.catalogue, ready.split
    summaries: dict[str, Mapping[str, Any]] = {}
    for role, members in (("test", split.test), ("val", split.val)):
        ids = tuple(case for case in members if catalogue.by_id[case].label is not None)
        if not ids:
            continue
        out = folder.evaluation / role if summaries else folder.evaluation
        if not summaries and (folder.best / "model.safetensors").exists():
            _predict(order, folder.last, ready, ids, folder.last / "predictions", "none")
            _evaluate(order, folder.last / "predictions", catalogue, folder.evaluation / "last", ids, role)
        summaries[role] = _evaluate(order, folder.predictions, catalogue, out, ids, role)
    return summaries


def trust_run(folder: Run, ready: Ready) -> None:
    """Calibrate the trust on val, in model/calibration.json, and judge every prediction with it, in trust.csv."""
    calibrate(folder, ready.catalogue, ready.split, ready.cache)
    write_verdicts(folder.model, folder.predictions)


def audit_run(order: Order, folder: Run, ready: Ready) -> None:
    """Audit the pseudo-labels on val in audit/, where the method rectifies some and val has masks; once."""
    masked = any(ready.catalogue.by_id[case].label is not None for case in ready.split.val)
    if not masked or (folder.audit / "audit.json").exists() or not auditing.auditable(folder):
        return
    audit(folder.root, folder.audit, device=order.device, quiet=order.quiet)


def audit(
    run: Path,
    out: Path,
    *,
    against: Path | None = None,
    reference: Catalogue | Path | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> dict[str, Any]:
    """Score a run's pseudo-labels before and after rectification, with controls, and draw what changed, in `out`.

    Arguments and errors as in `audit.audit`; returns audit.json.
    """
    if isinstance(reference, Path):
        reference = open_catalogue(reference)
    found = auditing.audit(run, out, against=against, reference=reference, device=device, quiet=quiet)
    images = read_catalogue(Run(run).catalogue)
    stack = auditing.config_of(Run(run)).plan.dims == 2
    changes.draw(out, reference or images, images, pair=found["pair"], stack=stack)
    # last: it says that the audit is complete
    atomic_write(out / "audit.json", json.dumps(found, indent=2, allow_nan=False, ensure_ascii=False) + "\n")
    return found


def _predict(order: Order, model: Path, ready: Ready, ids: Sequence[str], out: Path, trust: Level) -> tuple[Path, ...]:
    cases = [ready.catalogue.by_id[case] for case in ids]
    settings, device = ready.config.predict, order.device
    return tuple(predict(model, [], out, trust=trust, cases=cases, settings=settings, device=device, quiet=order.quiet))


def _evaluate(
    order: Order, predictions: Path, catalogue: Catalogue, out: Path, ids: Sequence[str], role: str
) -> Mapping[str, Any]:
    """summary.json of a role; read where an earlier sitting wrote it."""
    path = out / "summary.json"
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    return evaluate(predictions, catalogue, out, ids, split=role, quiet=order.quiet)
