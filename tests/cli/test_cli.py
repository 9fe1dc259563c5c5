"""The command line as a user meets it: names, help, how fast it starts, and one line for every mistake."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fewmask import cli
from fewmask.errors import DataError

COMMANDS = [
    "run",
    "demo",
    "scan",
    "convert",
    "suggest-exemplar",
    "split",
    "prepare",
    "train",
    "predict",
    "evaluate",
    "audit",
    "compare",
    "triage",
    "suggest",
    "audit-labels",
    "apply-review",
    "report",
    "methods",
    "config",
    "doctor",
]  # of cli.md


def test_the_commands_of_this_version(fewmask) -> None:
    status, out, _ = fewmask("--help")
    listed = out.split("Commands:")[1].split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in listed if line.strip()] == COMMANDS
    assert "..." not in out.split("Commands:")[1].split("Exit status")[0]
    assert status == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each(fewmask, command: str) -> None:
    status, out, _ = fewmask(command, "--help")
    assert status == 0
    assert out.startswith(f"Usage: fewmask {command}")
    assert "--debug" not in out


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("run", "--out --method --labelled --exemplar --recipe --steps --seed --quiet --json --device --cache --split"),
        ("scan", "--out --json --layout --fix --keep-ids"),
        ("convert", "--out --masks --doubt --json"),
        ("split", "--labelled --val --test --group --seed --out --json"),
        ("prepare", "--split --out"),
        ("train", "--method --out --split --labelled --steps --device --resume --seed"),
        ("predict", "--out --probabilities --uncertainty --samples --format"),
        ("evaluate", "--reference --split --out --protocol --json"),
        ("audit", "--against --reference --out --json"),
        ("report", "--out"),
        ("methods", "--json"),
        ("config", "--json"),
        ("doctor", "--json --devices"),
        ("demo", "--out"),
        ("compare", "--methods --labelled --exemplars --seeds --val --test --out --workers --ray --curve --json"),
    ],
)
def test_options(fewmask, command: str, options: str) -> None:
    out = fewmask(command, "--help")[1]
    for option in options.split():
        assert f"  {option}" in out, option


def test_version(fewmask) -> None:
    assert fewmask("--version")[:2] == (0, "0.1.0\n")


@pytest.mark.parametrize("words", [["--help"], ["methods"], ["methods", "--json"], ["doctor", "--json"]])
def test_starts_without_torch(words: list[str]) -> None:
    script = (
        "import sys\nfrom fewmask.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "finally:\n    print({'torch', 'monai', 'numpy', 'scipy', 'matplotlib'} & set(sys.modules), file=sys.stderr)"
    )
    answer = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True)
    assert answer.returncode == 0
    assert answer.stderr.strip() == "set()"


@pytest.mark.slow
@pytest.mark.parametrize("words", [["--help"], ["methods"], ["doctor", "--json"]])
def test_starts_in_half_a_second(words: list[str]) -> None:
    """In time on the processor, which other work on the machine changes less than time on the wall."""
    import resource

    def seconds() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    best = 9.0
    for _ in range(3):
        before = seconds()
        subprocess.run([sys.executable, "-m", "fewmask", *words], capture_output=True, check=True)
        best = min(best, seconds() - before)
    assert best < 0.5


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["run", "DATA", "--labelled", "0"], 2, "--labelled 0"),
        (["run", "DATA", "--labelled", "10000"], 3, "10000"),
        (["run", "DATA", "--labelled", "150%"], 2, "150%"),
        (["run", "DATA", "--labelled", "no-such-file"], 2, "no-such-file"),
        (["run", "DATA", "--method", "fixmacht"], 2, "unknown method 'fixmacht'; did you mean 'fixmatch'?"),
        (["run", "DATA", "--recipe", "cpuu"], 2, "unknown recipe 'cpuu'; did you mean 'cpu'?"),
        (["run", "DATA", "--recipe", "none.yaml"], 2, "recipe none.yaml: no such file"),
        (["run", "DATA", "train.stesp=3"], 2, "unknown setting 'train.stesp'; did you mean 'steps'?"),
        (["run", "DATA", "method.emma=0.9"], 2, "unknown setting 'method.emma'; did you mean 'ema'?"),
        (["run", "DATA", "train.steps=many"], 2, "train.steps='many'"),
        (["run", "DATA", "train.steps"], 2, "write key=value"),
        (["run", "DATA", "--steps", "0"], 2, "train.steps=0"),
        (["run", "DATA", "--device", "quantum"], 2, "--device quantum: choose auto, cpu, cuda or cuda:N"),
        (["run", "DATA", "--layout", "nnunett"], 2, "nnunett"),
        (["run", "DATA", "--exemplar", "patient01"], 3, "patient01"),
        (["run", "DATA", "--exemplar", "x", "--labelled", "3"], 2, "--exemplar and --labelled were both given"),
        (["run", "DATA", "--method", "fixmatch", "--recipe", "supervised"], 2, "methods fixmatch and supervised"),
        (["run", "absent"], 3, "absent"),
        (["train", "DATA", "--labelled", "3", "--split", "absent.json"], 2, "--split and --labelled were both given"),
        (["train", "DATA", "--split", "absent.json"], 3, "absent.json"),
        (["scan", "absent"], 3, "absent"),
        (["split", "DATA", "--labelled", "1", "--group", "planet"], 2, "--group planet: choose patient or site"),
        (["split", "DATA", "--labelled", "1", "--group", "site"], 2, "has no site"),
        (["predict", "absent", "DATA"], 3, "absent"),
        (["evaluate", "absent", "--reference", "DATA"], 3, "absent"),
        (["audit", "absent"], 3, "absent: no checkpoint"),
        (["report", "absent"], 3, "absent: no config.yaml"),
    ],
)
def test_a_mistake_is_one_line(
    fewmask, one_line, phantoms: Path, tmp_path: Path, words, status: int, message: str
) -> None:
    words = [str(phantoms) if word == "DATA" else word for word in words]
    found, out, err = fewmask(*words, "--out", tmp_path / "out", *(["--quiet"] if words[0] == "run" else []))
    assert message in one_line(err)
    assert (found, out) == (status, "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["walk"], "No such command 'walk'"),
        (["run"], "Missing argument 'DATA'"),
        (["run", "x"], "Missing option '--out'"),
        (["methods", "--colour"], "No such option: --colour"),
        (["config", "cpuu"], "unknown recipe 'cpuu'; did you mean 'cpu'?"),
    ],
)
def test_usage(fewmask, words: list[str], message: str) -> None:
    status, _, err = fewmask(*words)
    assert status == 2
    assert message in err
    assert "Traceback" not in err


def test_debug_shows_where(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent"):
        cli.main(["scan", str(tmp_path / "absent"), "--out", str(tmp_path / "out"), "--debug"])


def test_an_interrupt_anywhere_is_status_5(fewmask, one_line, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from fewmask import intake

    def interrupted(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(intake, "scan", interrupted)
    status, _, err = fewmask("scan", tmp_path, "--out", tmp_path / "out")
    assert status == 5
    assert one_line(err) == "fewmask: interrupted; the same command continues"


def test_an_unforeseen_error_is_status_1(fewmask, one_line, monkeypatch: pytest.MonkeyPatch) -> None:
    from fewmask import listing

    monkeypatch.setattr(listing, "method_rows", lambda: 1 / 0)
    status, _, err = fewmask("methods")
    assert status == 1
    assert "ZeroDivisionError" in one_line(err)
