"""A data set of eight small volumes that shows its labels, prepared once per session."""

import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from fewmask.config import Config, Optimiser, Plan, Train
from fewmask.data.cache import Cache, Preparation
from fewmask.data.catalogue import Catalogue
from fewmask.data.prepare import prepare
from fewmask.types import Case, LabelSet, Split

SIZE = (17, 20)


@pytest.fixture(scope="session")
def catalogue(tmp_path_factory) -> Catalogue:
    folder = tmp_path_factory.mktemp("volumes")
    rng = np.random.default_rng(0)
    cases = []
    for number in range(8):
        label = np.zeros((3, *SIZE), np.uint8)
        row, column = rng.integers(2, 8, size=2)
        label[:, row : row + 8, column : column + 9] = 1
        label[1:, row + 2 : row + 6, column + 2 : column + 6] = 2
        image = label + rng.normal(scale=0.3, size=label.shape)
        path = folder / f"patient{number:03}_frame01.h5"
        with h5py.File(path, "w") as file:
            file["image"], file["label"] = image.astype(np.float32), label
        cases.append(Case(id=path.stem, patient=f"patient{number:03}", images=(path,), label=path))
    return Catalogue(
        name="boxes",
        channels=("MR",),
        labels=LabelSet(names=("background", "box", "core"), values=(0, 1, 2)),
        planar=False,
        layout="ssl4mis",
        cases=tuple(cases),
    )


@pytest.fixture(scope="session")
def split(catalogue) -> Split:
    ids = [case.id for case in catalogue.cases]
    return Split(labelled=(ids[0], f"{ids[1]}:2"), unlabelled=tuple(ids[2:5]), val=tuple(ids[5:7]), test=(ids[7],))


@pytest.fixture(scope="session")
def cache(catalogue, split, tmp_path_factory) -> Cache:
    preparation = Preparation(dims=2, size=SIZE)
    return prepare(catalogue, split, preparation, tmp_path_factory.mktemp("cache"), quiet=True)


@pytest.fixture(scope="session")
def cache_3d(catalogue, split, tmp_path_factory) -> Cache:
    return prepare(catalogue, split, Preparation(dims=3), tmp_path_factory.mktemp("cache"), quiet=True)


OWN = {
    "fixmatch": {"threshold": 0.0},
    "caudo_diff": {
        "labelled_batch": 2,
        "budget": {"autoencoder": 1, "gate": 1, "warm_up": 1, "calibrator": 1, "rounds": 2, "tune": 1, "train": 1},
        "autoencoder": {"gate": 0.0, "width": 2},
        "calibrator": {"samples": 2, "width": 8},
    },
}
"""What a method needs to do something in a few steps."""


@pytest.fixture
def settings():
    """A function that makes a tiny run's Config."""

    def make(method: str = "fixmatch", steps: int = 12, plan: Plan | None = None, train: dict | None = None, **own):
        return Config(
            method={
                "name": method,
                "segmenter": {"width": 2},
                "labelled_batch": 4,
                **OWN.get(method, {}),
                **own,
            },
            plan=plan or Plan(tier="cpu", dims=2, size=SIZE, intensity="zscore", flip=(0, 1), rotation=30),
            train=Train(
                **{
                    "steps": steps,
                    "threads": 1,
                    "workers": 0,
                    "validations": 3,
                    "optimiser": Optimiser(lr=1e-2),
                    **(train or {}),
                }
            ),
        )

    return make


@pytest.fixture
def job(catalogue, cache, tmp_path):
    """A function: the command of a process of its own that trains into a folder; `first` is run before all else."""

    def command(out: Path, config: Config, first: str = "") -> list[str]:
        script = tmp_path / "job.py"
        script.write_text(first + JOB)
        images = [str(case.images[0]) for case in catalogue.cases]
        return [sys.executable, str(script), str(out), str(cache.root.parent), config.model_dump_json(), *images]

    return command


JOB = """
import sys
from pathlib import Path
from fewmask.config import Config
from fewmask.data.cache import Preparation
from fewmask.data.catalogue import Catalogue
from fewmask.data.prepare import prepare
from fewmask.runs import Run
from fewmask.training import trainer
from fewmask.types import Case, LabelSet, Split
out, root, config, *paths = sys.argv[1:]
cases = tuple(Case(id=Path(p).stem, patient=Path(p).stem[:10], images=(Path(p),), label=Path(p)) for p in paths)
ids = [case.id for case in cases]
catalogue = Catalogue(name="boxes", channels=("MR",), planar=False, layout="ssl4mis", cases=cases,
                      labels=LabelSet(names=("background", "box", "core"), values=(0, 1, 2)))
split = Split(labelled=(ids[0], f"{ids[1]}:2"), unlabelled=tuple(ids[2:5]), val=tuple(ids[5:7]), test=(ids[7],))
cache = prepare(catalogue, split, Preparation(dims=2, size=(17, 20)), Path(root), quiet=True)
Path(out).mkdir(exist_ok=True)
Path(out, "started").touch()
trainer.train(catalogue, split, cache, Config.model_validate_json(config), Run(Path(out)), device="cpu", quiet=True)
"""
