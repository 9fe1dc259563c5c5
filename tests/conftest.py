"""One torch thread, and data that several tests share: a small phantom data set and a run on it."""

from __future__ import annotations

import importlib.util
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; two threads on a busy machine crawl

from pathlib import Path

import pytest

from fewmask.config import parse_assignments

TINY = (
    "plan.size=[24,24]",
    "method.segmenter.width=2",
    "method.labelled_batch=2",
    "train.steps=4",
    "train.workers=0",
    "train.threads=1",
    "train.validations=2",
    "train.precision=fp32",
)
"""Settings of a run that ends in seconds and learns nothing."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("real_data") and not Path(os.environ.get("FEWMASK_DATA") or "absent").is_dir():
        pytest.skip("set FEWMASK_DATA to the folder of real data")
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")


@pytest.fixture
def real_data() -> Path:
    """The folder of real data."""
    return Path(os.environ["FEWMASK_DATA"])


@pytest.fixture
def dicoms(tmp_path: Path):
    """A writer of DICOM files below tmp_path / "export 1"."""
    specification = importlib.util.spec_from_file_location("dicoms", Path(__file__).with_name("dicoms.py"))
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.Dicoms(tmp_path / "export 1")


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six patients with one small volume each; four have masks."""
    from fewmask.data.phantom import write_phantoms

    folder = tmp_path_factory.mktemp("phantoms") / "hearts, ein Satz"
    write_phantoms(folder, patients=6, labelled=4, size=(3, 36, 32), frames=1)
    return folder


@pytest.fixture(scope="session")
def tiny_words() -> tuple[str, ...]:
    """TINY as a user writes it."""
    return TINY


@pytest.fixture(scope="session")
def tiny() -> dict:
    """TINY as nested values."""
    return parse_assignments(TINY)


@pytest.fixture(scope="session")
def finished(phantoms: Path, tiny: dict, tmp_path_factory: pytest.TempPathFactory):
    """The outcome of a whole job on the phantoms: two labelled patients, one val, one test."""
    from fewmask import api

    out = tmp_path_factory.mktemp("runs") / "finished"
    return api.run(phantoms, out, labelled=2, val=1, test=1, settings=tiny, device="cpu", quiet=True)
