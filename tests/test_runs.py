import errno
import json
import os
import signal
import subprocess
import sys

import pytest

from fewmask import runs
from fewmask.errors import OutOfMemory, SettingsError
from fewmask.runs import COMMAND, Run, append_log, atomic_write, read_log, record_environment, truncate_log, writing


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file.json"
    atomic_write(path, "old")
    monkeypatch.setattr("fewmask.runs.os.replace", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "no")))
    with pytest.raises(SettingsError, match=r"file\.json: cannot be written \(no\); choose another folder"):
        atomic_write(path, "new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.json"] and path.read_text() == "old"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("write", [lambda path: atomic_write(path, "x"), lambda path: append_log(path, {})])
def test_a_full_disk_is_said_with_the_name_of_the_file(tmp_path, monkeypatch, number, write):
    """As from write(), whose error has no name."""

    class Full:
        def write(self, _):
            raise OSError(number, "full")

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr("builtins.open", lambda *_, **__: Full())
    with pytest.raises(OutOfMemory, match=r"a/file: the disk is full; free some"):
        write(tmp_path / "a" / "file")


def test_fewer_bytes_than_numpy_wanted_are_a_full_disk(tmp_path):
    with pytest.raises(OutOfMemory, match="the disk is full"), writing(tmp_path):
        raise OSError("900 requested and 0 written")


def test_the_log_survives_a_line_cut_short(tmp_path):
    path = tmp_path / "log.jsonl"
    for step in range(1, 5):
        append_log(path, {"step": step})
    with open(path, "a") as file:
        file.write('{"step": 5, "ter')
    assert [entry["step"] for entry in read_log(path)] == [1, 2, 3, 4]
    truncate_log(path, 2)
    append_log(path, {"step": 3})
    assert [entry["step"] for entry in read_log(path)] == [1, 2, 3]
    assert read_log(tmp_path / "absent.jsonl") == []


def test_a_second_writer_is_refused_and_the_lock_ends_with_its_process(tmp_path):
    run = Run(tmp_path / "run")
    other = (
        "import sys; from pathlib import Path; from fewmask.runs import Run; from fewmask.errors import SettingsError\n"
        "try:\n"
        "    with Run(Path(sys.argv[1])).locked(): print('free')\n"
        "except SettingsError as error: print(error)\n"
    )

    def second() -> str:
        return subprocess.run(
            [sys.executable, "-c", other, str(run.root)], capture_output=True, text=True, check=True
        ).stdout

    with run.locked():
        assert "is writing to this folder" in second()
        with pytest.raises(SettingsError, match="choose another --out"), run.locked():
            pass
    assert second() == "free\n"


def test_a_child_that_outlives_a_killed_process_holds_no_lock(tmp_path):
    """As a loader's process does for some seconds."""
    run = Run(tmp_path / "run")
    script = (
        "import os, sys, time; from pathlib import Path; from fewmask.runs import Run\n"
        "with Run(Path(sys.argv[1])).locked():\n"
        "    if not os.fork(): print(os.getpid(), flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(run.root)], stdout=subprocess.PIPE, text=True)
    child = int(process.stdout.readline())
    with pytest.raises(SettingsError, match=f"process {process.pid} is writing"), run.locked():
        pass
    process.kill()
    process.wait()
    process.stdout.close()
    try:
        with run.locked():
            os.kill(child, 0)  # it is still there
    finally:
        os.kill(child, signal.SIGKILL)


def test_the_environment_is_recorded(tmp_path):
    run = Run(tmp_path)
    record_environment(run, "cpu")
    found = json.loads(run.environment.read_text())
    assert found["device"] == "cpu" and found["torch"] and found["python"]
    assert found["command"] is None, "called from Python, whatever sys.argv says"
    token = COMMAND.set(["fewmask", "train", "a b"])
    record_environment(run, "cpu")
    COMMAND.reset(token)
    assert json.loads(run.environment.read_text())["command"] == ["fewmask", "train", "a b"]


def test_the_commit_is_that_of_fewmask_alone(tmp_path, monkeypatch):
    """A copy in another's repository, as in a virtual environment inside a project, has no commit."""
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "theirs"]):
        subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@y", *words], cwd=tmp_path, check=True)
    (tmp_path / "site-packages").mkdir()
    monkeypatch.setattr(runs, "__file__", str(tmp_path / "site-packages" / "runs.py"))
    record_environment(Run(tmp_path / "run"), "cpu")
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["git_commit"] is None
