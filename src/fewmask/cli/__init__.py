"""The command line.  A handler imports its stage and calls one function, so that help and listings start at once."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from fewmask import failure
from fewmask.cli.jobs import compare, demo, run, train
from fewmask.cli.listings import config, doctor, methods
from fewmask.cli.masks import apply_review, audit_labels, suggest, triage
from fewmask.cli.stages import audit, convert, evaluate, predict, prepare, report, scan, split, suggest_exemplar
from fewmask.runs import COMMAND

COMMANDS = (
    *(run, demo, scan, convert, suggest_exemplar, split, prepare, train, predict, evaluate, audit, compare),
    *(triage, suggest, audit_labels, apply_review, report, methods, config, doctor),
)
"""In the order of `fewmask --help`."""

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


def fewmask(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Masks for every image of a collection of which few have masks."""


app.callback()(fewmask)
for command in COMMANDS:
    app.command()(command)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and leave with the exit status of cli.md; `--debug` lets errors show where they arose."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    before = signal.signal(signal.SIGTERM, _interrupt)
    command = COMMAND.set(["fewmask", *words])
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
        COMMAND.reset(command)
        signal.signal(signal.SIGTERM, before)
    raise SystemExit(0)


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt
