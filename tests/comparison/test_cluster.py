"""Ray: an address that does not answer is said in seconds; a local cluster does the cells."""

from __future__ import annotations

import signal
import socket
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from fewmask.comparison import cluster
from fewmask.comparison.cluster import Cluster, check_address, gpus_of
from fewmask.errors import SettingsError


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


@pytest.fixture
def with_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if Ray were installed: only its addresses are looked at."""
    monkeypatch.setattr(cluster, "find_spec", lambda name: name)


@pytest.mark.usefixtures("with_ray")
@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_nobody_listens(scheme: str) -> None:
    began = time.monotonic()
    with pytest.raises(SettingsError, match=r"--ray .*127\.0\.0\.1:\d+: no answer \(connection refused\); start the"):
        check_address(f"{scheme}127.0.0.1:{free_port()}")
    assert time.monotonic() - began < 2 * cluster.ANSWERS_WITHIN


@pytest.mark.usefixtures("with_ray")
@pytest.mark.parametrize("address", ["", "somewhere", "http://here:80/x", "here:port", "ray://here"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(SettingsError, match="give local, auto, HOST:PORT or ray://HOST:PORT"):
        check_address(address)


def test_someone_who_listens_but_is_no_cluster_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "JOINS_WITHIN", 0.2)
    monkeypatch.setattr(cluster, "_PROBE", "import time; time.sleep(60)")
    with pytest.raises(SettingsError, match="lets nobody in for 0 seconds; is it a Ray cluster"):
        cluster._probe("127.0.0.1:1")
    monkeypatch.setattr(cluster, "JOINS_WITHIN", 20)
    monkeypatch.setattr(cluster, "_PROBE", "raise ConnectionError('no such cluster')")
    with pytest.raises(SettingsError, match="no such cluster; start the cluster"):
        cluster._probe("127.0.0.1:1")


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"pip install 'fewmask\[ray\]'"):
        gpus_of("local")


@pytest.mark.usefixtures("with_ray")
def test_gpus_are_those_of_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_PROBE", "print('warming up'); print(3)")
    assert gpus_of("auto") == 3
    monkeypatch.setattr(cluster, "has_cuda", lambda: True)
    assert gpus_of("local") == 1


@pytest.mark.usefixtures("with_ray")
def test_terminating_is_still_ours_in_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray puts a handler of its own in the place of the one that saves."""
    ray = SimpleNamespace(
        init=lambda **options: signal.signal(signal.SIGTERM, signal.SIG_IGN),
        nodes=lambda: [{"Alive": True, "Resources": {"CPU": 1.0}}],
        remote=lambda **options: lambda function: function,
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    before = signal.getsignal(signal.SIGTERM)
    Cluster("local", cpus=1, gpus=0)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.usefixtures("with_ray")
@pytest.mark.parametrize(
    ("room", "message"),
    [
        (
            Exception("The current node\ntimed out"),
            "--ray local: The current node timed out; try again, or use --workers",
        ),
        (
            [{"Alive": True, "Resources": {"CPU": 2.0}}, {"Alive": True, "Resources": {"CPU": 3.0}}],
            "--ray local: no node has room for a cell of 4 CPUs and 0 GPUs; add one, or lower train.threads",
        ),
    ],
)
def test_a_cluster_that_does_not_start_or_is_too_small_is_a_line(
    monkeypatch: pytest.MonkeyPatch, room, message
) -> None:
    def init(**options) -> None:
        if isinstance(room, Exception):
            raise room

    ray = SimpleNamespace(init=init, nodes=lambda: room, shutdown=lambda: None)
    monkeypatch.setitem(sys.modules, "ray", ray)
    with pytest.raises(SettingsError) as told:
        Cluster("local", cpus=4, gpus=0)
    assert str(told.value) == message


def a_cell(order, log, stop=None) -> int:
    """`run_cell` with a process that imports nothing: it says what it was ordered, and leaves with 3."""
    from fewmask.comparison import workers

    said = (
        "import json, sys; order = json.loads(sys.stdin.readline()); print(order['device'], order['run']); sys.exit(3)"
    )
    start = workers.subprocess.Popen
    workers.subprocess.Popen = lambda words, **options: start([words[0], "-c", said], **options)
    return workers.run_cell(order, log, stop)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
def test_a_local_cluster_runs_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In Ray's own process: the order arrives, the log is written here, the status comes back."""
    ray = pytest.importorskip("ray")
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # Ray's process cannot import a file of tests
    monkeypatch.setattr(cluster, "run_cell", a_cell)
    pool = Cluster("local", cpus=1, gpus=0)
    try:
        future = pool.submit({"run": "a run", "command": ["fewmask"]}, tmp_path / "cell.log")
        assert future.result(timeout=300) == 3
    finally:
        pool.close()
    assert (tmp_path / "cell.log").read_text() == "cpu a run\n"
