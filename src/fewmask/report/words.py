"""The sentences of a report: what was learned from what, what to be careful about, its source, how to go on."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from fewmask.config import written
from fewmask.errors import SettingsError
from fewmask.figures import series
from fewmask.methods import method_class
from fewmask.recipe import load_recipe
from fewmask.report.page import Content, Markup, element, folded, table
from fewmask.report.record import Evaluation, Record
from fewmask.resolution import flat

COLLAPSE = 0.7
"""Pseudo-labels that end below this share of their best Dice are warned of."""


def counted(count: int, one: str, many: str | None = None) -> str:
    """`1 case`, `2 cases`, `1,312 cases`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def method_title(record: Record) -> str:
    """The method's name as its recipe writes it."""
    about = _about(record)
    return about.title if about and about.title else record.method


def method_source(record: Record) -> str:
    """The paper of the method, or nothing."""
    about = _about(record)
    return about.paper if about else ""


def _about(record: Record) -> Any:
    try:
        return load_recipe(record.method).about
    except SettingsError:
        return None  # a method of a later version, or of someone's own


def headline(record: Record) -> Content:
    """One sentence: what was learned from what, by what, for how long, and which weights are used."""
    labelled, unlabelled = record.role("labelled"), record.role("unlabelled")
    whole = sum(entry in labelled for entry in record.split.get("labelled", ()))
    slices = len(record.split.get("labelled", ())) - whole
    given = [counted(count, f"labelled {kind}") for count, kind in ((slices, "slice"), (whole, "case")) if count]
    what = " and ".join(given) or "no labelled case"
    people = record.patients("labelled")
    of = f" of {counted(people, 'patient')}" if people and people != whole + slices else ""
    names = record.catalogue.labels.names[1:] if record.catalogue else ()
    task = [" how to find ", element("strong", _listed(names))] if names else None
    beside = f" and {counted(len(unlabelled), 'case')} without a mask" if unlabelled else ""
    return [
        element("strong", method_title(record)),
        " learned",
        task,
        " from ",
        element("strong", what + of),
        beside,
        f" in {counted(record.step, 'step')}{_duration(record)}. The masks come from {record.checkpoint}.",
    ]


def _listed(names: tuple[str, ...], most: int = 6) -> str:
    if len(names) > most:
        return f"{len(names)} classes"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _duration(record: Record) -> str:
    if record.minutes is None:
        return ""
    if record.minutes < 1.5:
        return f" ({record.minutes * 60:.0f} seconds)"
    return f" ({record.minutes:.0f} minutes)" if record.minutes < 120 else f" ({record.minutes / 60:.1f} hours)"


def warnings(record: Record) -> list[str]:
    """What a reader should know before trusting the numbers; the scan's own findings come last."""
    found = []
    if not record.complete:
        found.append(
            f"Training stands at step {record.step:,} of {record.budget:,}: this is a report of an unfinished run. "
            "The command that started it continues it."
        )
    elif not record.role("val"):
        found.append("No val cases: nothing chose between checkpoints, and the last one is used.")
    if record.main is not None:
        if record.main.split == "val":
            found.append("The scores are on val, which also chose the checkpoint: expect a little less on new images.")
        found += _failures(record.main)
    elif record.complete:
        found.append("Nothing was scored: no case outside training has a mask. Judge the masks by looking at them.")
    found += _collapse(record)
    return found + list(record.catalogue.findings if record.catalogue else ())


def _failures(evaluation: Evaluation) -> list[str]:
    counts = {note: sum(note in row.note for row in evaluation.rows) for note in ("missed", "hallucinated")}
    said = [
        f"{verb} {counted(counts[note], 'time')}"
        for note, verb in (("missed", "missed"), ("hallucinated", "hallucinated"))
        if counts[note]
    ]
    return [f"On {evaluation.split} a class was {' and '.join(said)}; the table of cases says where."] if said else []


def _collapse(record: Record) -> list[str]:
    variants = series(record.log, "val", "pseudo")
    found = []
    for name, (steps, values) in variants.items():
        best = int(values.argmax())
        if values[-1] < COLLAPSE * values[best]:
            found.append(
                f"The pseudo-labels ({name}) fell from Dice {values[best]:.2f} at step {int(steps[best]):,} to "
                f"{values[-1]:.2f}: the unlabelled images may have taught errors. Compare with --method supervised."
            )
    return found


def provenance(record: Record) -> list[Content]:
    """What is needed to make the numbers again: command, versions, settings and lists."""
    environment = dict(record.environment)
    command = environment.pop("command", None)
    if isinstance(command, list):
        command = shlex.join(str(part) for part in command)
    rows: list[list[Content]] = [["run folder", str(record.run.root)]]
    rows += [["command", element("code", command)]] if command else []
    rows.append(["method", ", ".join(filter(None, (method_title(record), method_source(record))))])
    recipes = record.config.get("recipes")
    rows += [["recipes", ", ".join(map(str, recipes))]] if recipes else []
    rows += [["seed of training", str(record.config.get("train", {}).get("seed", "?"))]]
    rows += [["split", f"seed {record.split.get('seed', '?')}, hash {record.split.get('hash', '?')}"]]
    rows += [[key.replace("_", " "), str(value)] for key, value in environment.items() if value is not None]
    content: list[Content] = [table(["", ""], rows, class_="plain")]
    if record.run.config.is_file():
        settings = record.run.config.read_text(encoding="utf-8")
        content.append(folded("All settings (config.yaml)", element("pre", settings)))
    for role in ("labelled", "unlabelled", "val", "test"):
        entries = record.split.get(role, ())
        if entries:
            title = f"{role}: {counted(len(entries), 'case')}"
            content.append(folded(title, element("pre", "\n".join(map(str, entries)))))
    return content


def continuation(record: Record) -> Markup:
    """Commands for what people do next, with the paths of this run."""
    folder = str(record.run.root)
    steps = [("Masks for further images", f"fewmask predict {shlex.quote(folder)} NEW_IMAGES --out MASKS")]
    if not record.complete:
        command = record.environment.get("command")
        steps = [("Continue this run", shlex.join(map(str, command)) if isinstance(command, list) else "")]
    else:
        if record.role("unlabelled") and record.method != "supervised":
            twin = f"{folder}-supervised"
            both = f"fewmask report {shlex.quote(folder)} {shlex.quote(twin)} --out comparison.html"
            title = "Did the images without masks help? The same run without them, then both side by side"
            steps.append((title, f"{_again(record, 'supervised', record.budget, twin)}\n{both}"))
        longer = _again(record, record.method, 3 * record.budget, f"{folder}-longer")
        steps.append(("The same data and roles, three times as long", longer))
    return element("div", [[element("p", title, class_="note"), element("pre", code)] for title, code in steps if code])


def _again(record: Record, method: str, steps: int, out: str) -> str:
    """The command for another run of the same cases in the same roles with the same recipes and settings."""
    parts = ["fewmask", "run", str(record.run.catalogue), "--split", str(record.run.split), "--out", out]
    parts += ["--method", method, "--steps", str(steps)]
    other = method != record.method
    for recipe in record.request.get("recipes", ()):
        if not (other and _is_of_a_method(recipe)):
            parts += ["--recipe", str(recipe)]
    for key, value in flat(record.request.get("settings", {})).items():
        if key == "train.steps" or (other and not _known(key, method)):
            continue
        parts.append(f"{key}={written(value)}")
    return shlex.join(parts)


def _is_of_a_method(recipe: str) -> bool:
    try:
        return load_recipe(recipe).about.kind == "method"
    except SettingsError:
        return False  # a file that has been moved: the command will say so


def _known(key: str, method: str) -> bool:
    """Whether a method has a setting: what it shares with other methods, and nothing that is theirs alone."""
    root, *rest = key.split(".")
    return root != "method" or not rest or rest[0] in method_class(method).Config.model_fields


def same_split(records: list[Record]) -> bool:
    """Whether all runs were given the same roles."""

    def roles(split: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(sorted(map(str, split.get(role, ())))) for role in ("labelled", "unlabelled", "val", "test"))

    return len({roles(record.split) for record in records}) == 1
