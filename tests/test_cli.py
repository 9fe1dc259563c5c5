"""The command line as a user meets it: words, exit statuses, one line for every mistake, and how fast it starts."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fewmask import cli
from fewmask.errors import DataError
from fewmask.job import Outcome

COMMANDS = [
    "run",
    "demo",
    "scan",
    "split",
    "prepare",
    "train",
    "predict",
    "evaluate",
    "report",
    "methods",
    "config",
    "doctor",
]  # of cli.md, without those that later parts bring


@pytest.fixture
def fewmask(capsys: pytest.CaptureFixture[str]):
    """A function that runs a command and returns (exit status, stdout, stderr)."""

    def call(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main([str(word) for word in words])
        out = capsys.readouterr()
        return ended.value.code or 0, out.out, out.err

    return call


def one_line(err: str) -> str:
    """The message of a refused command, which is one line, without a traceback."""
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("fewmask: ")
    return lines[0]


# names and help


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
        ("scan", "--out --json --layout"),
        ("split", "--labelled --val --test --group --seed --out --json"),
        ("prepare", "--split --out"),
        ("train", "--method --out --split --labelled --steps --device --resume --seed"),
        ("predict", "--out --probabilities --uncertainty --samples --format"),
        ("evaluate", "--reference --split --out --protocol --json"),
        ("report", "--out"),
        ("methods", "--json"),
        ("config", "--json"),
        ("doctor", "--json --devices"),
        ("demo", "--out"),
    ],
)
def test_options(fewmask, command: str, options: str) -> None:
    out = fewmask(command, "--help")[1]
    for option in options.split():
        assert f"  {option}" in out, option


def test_version(fewmask) -> None:
    assert fewmask("--version")[:2] == (0, "0.1.0\n")


# what starts at once


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


# listings


def test_methods(fewmask) -> None:
    status, out, _ = fewmask("methods", "--json")
    rows = json.loads(out)
    assert status == 0
    assert {row["name"] for row in rows} >= {"supervised", "mean_teacher", "fixmatch"}
    assert set(rows[0]) == {"name", "title", "paper", "needs"}
    assert fewmask("methods")[1].splitlines()[0].split() == ["name", "title", "paper", "needs"]


def test_doctor(fewmask) -> None:
    assert json.loads(fewmask("doctor", "--json")[1])["fewmask"] == "0.1.0"
    assert fewmask("doctor")[1].startswith("fewmask     0.1.0")


def test_config_says_where_each_came_from(fewmask) -> None:
    rows = json.loads(fewmask("config", "cpu", "plan.dims=2", "train.steps=7", "--json")[1])
    found = {row["key"]: (row["value"], row["from"]) for row in rows}
    assert found["train.steps"] == (7, "command line")
    assert found["plan.size"] == ([96, 96], "tier recipe cpu")
    assert found["train.clip"][1] == "default"
    assert found["method.name"] == ("fixmatch", "method recipe fixmatch")
    text = fewmask("config", "supervised")[1]
    assert text.splitlines()[0].split() == ["key", "value", "from"]


# scan, split, prepare, train, predict, evaluate, report: the parts of the whole job


@pytest.mark.slow
def test_part_by_part(fewmask, phantoms: Path, tiny_words, tmp_path: Path) -> None:
    catalogue, split, cache, run = (tmp_path / name for name in ("catalogue", "roles.json", "cache", "run"))
    status, out, _ = fewmask("scan", phantoms, "--out", catalogue, "--json", "--quiet")
    scanned = json.loads(out)
    assert (status, scanned["cases"], scanned["with_mask"], scanned["patients"]) == (0, 6, 4, 6)
    assert scanned["labels"] == {"background": 0, "RV": 1, "myocardium": 2, "LV": 3}

    words = ("split", catalogue, "--labelled", 2, "--val", 1, "--test", 1, "--out", split)
    assert json.loads(fewmask(*words, "--json")[1])["unlabelled"] == {"cases": 2, "patients": 2}
    out = fewmask(*words)[1]
    assert out.splitlines()[0].startswith("labelled: 2 patients")

    plan = [word for word in tiny_words if word.startswith("plan")]
    status, out, err = fewmask("prepare", catalogue, "--split", split, "--out", cache, *plan)
    assert (status, Path(out.strip()).parent) == (0, cache)
    assert "plan: plan.dims=2  (spacing ratio 5.0 is over 3)" in err

    words = (
        "train",
        catalogue,
        "--method",
        "supervised",
        "--split",
        split,
        "--cache",
        cache,
        "--out",
        run,
        *tiny_words,
    )
    status, out, err = fewmask(*words, "--device", "cpu")
    assert (status, out) == (0, f"model: {run / 'model'}\n")
    assert "prepare:" not in err  # the cache served
    assert one_line(fewmask(*words)[2]).endswith("add --resume to continue it or choose another --out")
    assert fewmask(*words, "--resume", "--quiet")[:2] == (0, f"model: {run / 'model'}\n")

    masks = tmp_path / "masks"
    images = phantoms / "imagesTr"
    status, out, _ = fewmask("predict", run, images, "--out", masks, "--device", "cpu", "--uncertainty", "--flips")
    assert (status, len(sorted(masks.glob("*.nii.gz")))) == (0, 6)
    assert len(sorted((masks / "uncertainty").glob("*.nii.gz"))) == 6

    scores = tmp_path / "scores"
    status, out, _ = fewmask("evaluate", masks, "--reference", catalogue, "--out", scores, "--json")
    assert (status, json.loads(out)["cases"], json.loads(out)["split"]) == (0, 4, "all")
    assert (scores / "metrics.csv").is_file()
    status, out, _ = fewmask("evaluate", masks, "--reference", catalogue, "--out", scores, "--protocol", "voxel")
    assert "hd95_voxel" in out

    page = tmp_path / "report.html"
    assert fewmask("report", run, "--out", page)[:2] == (0, f"{page}\n")
    assert page.read_text(encoding="utf-8").startswith("<!")


@pytest.mark.slow
def test_run_prints_the_table_and_where_things_are(fewmask, phantoms: Path, tiny_words, tmp_path: Path) -> None:
    words = ("run", phantoms, "--labelled", 2, "--val", 1, "--method", "mean_teacher", "--device", "cpu", *tiny_words)
    status, out, err = fewmask(*words, "--out", tmp_path / "run")
    assert status == 0
    assert out.splitlines()[0] == "val"
    assert out.splitlines()[1].split()[:2] == ["class", "dice"]
    assert [line.split()[0] for line in out.splitlines()[-4:]] == ["masks", "model", "report", "next"]
    for part in ("split: labelled: 2 patients", "plan: plan.tier=cpu  (device cpu)", "prepare: 6 of 6 cases"):
        assert part in err
    again = fewmask(*words, "--out", tmp_path / "run", "--quiet", "--json")
    assert (again[0], again[2]) == (0, "")
    assert json.loads(again[1])["summaries"]["val"]["cases"] == 1


# mistakes


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
        (["report", "absent"], 3, "absent: no config.yaml"),
    ],
)
def test_a_mistake_is_one_line(fewmask, phantoms: Path, tmp_path: Path, words, status: int, message: str) -> None:
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


def test_an_interrupt_anywhere_is_status_5(fewmask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from fewmask.data import scan

    def interrupted(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(scan, "scan", interrupted)
    status, _, err = fewmask("scan", tmp_path, "--out", tmp_path / "out")
    assert status == 5
    assert one_line(err) == "fewmask: interrupted; the same command continues"


def test_an_unforeseen_error_is_status_1(fewmask, monkeypatch: pytest.MonkeyPatch) -> None:
    from fewmask import listing

    monkeypatch.setattr(listing, "method_rows", lambda: 1 / 0)
    status, _, err = fewmask("methods")
    assert status == 1
    assert "ZeroDivisionError" in one_line(err)


@pytest.mark.slow
def test_a_signal_saves_and_the_same_command_continues(phantoms: Path, tiny_words, tmp_path: Path) -> None:
    words = [
        "run",
        phantoms,
        "--out",
        tmp_path / "run",
        "--labelled",
        "2",
        "--val",
        "1",
        *tiny_words,
        "--device",
        "cpu",
    ]
    words = [sys.executable, "-m", "fewmask", *map(str, words), "train.steps=100", "--method", "supervised"]
    log = tmp_path / "run" / "log.jsonl"
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 5, err
    assert "Traceback" not in err
    assert "the same command continues" in err.splitlines()[-1]
    step = json.loads(log.read_text().splitlines()[-1])["step"]
    assert step < 100
    again = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert steps == sorted(set(steps)) and steps[-1] == 100


@pytest.mark.slow
def test_two_runs_into_one_folder(fewmask, finished: Outcome, phantoms: Path) -> None:
    with finished.run.locked():
        script = "import sys; from fewmask.cli import main; main(sys.argv[1:])"
        words = ["run", phantoms, "--labelled", "2", "--out", finished.run.root]
        answer = subprocess.run([sys.executable, "-c", script, *map(str, words)], capture_output=True, text=True)
    assert answer.returncode == 2
    assert "is writing to this folder; wait for it or choose another --out" in one_line(answer.stderr)


# broken data


def broken(folder: Path, what: str) -> Path:
    """Make the first mask or image of a copy of the phantoms wrong in one way; returns the file."""
    image = folder / "imagesTr" / "patient001_frame01_0000.nii.gz"
    mask = folder / "labelsTr" / "patient001_frame01.nii.gz"
    if what == "truncated":
        image.write_bytes(image.read_bytes()[:2000])
    elif what == "text":
        image.write_text("not an image")
    elif what == "nan":
        old = nib.load(image)
        array = old.get_fdata(dtype=np.float32)
        array[3, 4, 1] = np.nan
        nib.save(nib.Nifti1Image(array, old.affine), image)
    else:
        old = nib.load(mask)
        array = np.asarray(old.dataobj)
        array = np.where(array == 3, 7, array) if what == "value" else array[:-1]
        nib.save(nib.Nifti1Image(array.astype(np.uint8), old.affine), mask)
        return mask
    return image


@pytest.mark.parametrize("what", ["truncated", "text", "nan", "value", "shape"])
def test_broken_data_is_status_3(fewmask, phantoms: Path, tmp_path: Path, what: str) -> None:
    data = tmp_path / "Bilder für später"
    shutil.copytree(phantoms, data)
    file = broken(data, what)
    status, _, err = fewmask("scan", data, "--out", tmp_path / "catalogue", "--quiet")
    assert status == 3
    assert file.name.split(".")[0].removesuffix("_0000") in one_line(err)
    assert not (tmp_path / "catalogue" / "cases.csv").exists()


def test_no_mask_at_all(fewmask, phantoms: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(phantoms / "imagesTr", data / "imagesTr")
    shutil.copy(phantoms / "dataset.json", data)
    status, _, err = fewmask("run", data, "--out", tmp_path / "run", "--quiet")
    assert status == 3
    assert "mask" in one_line(err)


def test_an_empty_folder(fewmask, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    status, _, err = fewmask("run", tmp_path / "empty", "--out", tmp_path / "run")
    assert status == 3
    assert "empty" in one_line(err)


def test_an_output_that_cannot_be_written(fewmask, phantoms: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    status, _, err = fewmask("run", phantoms, "--out", tmp_path / "file" / "run")
    assert status == 2
    assert one_line(err).endswith("choose another --out")
