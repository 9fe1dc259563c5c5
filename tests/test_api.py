"""The Python functions do what the commands do, come in lazily, and the documented snippets run."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import fewmask
from fewmask import api
from fewmask.data.catalogue import write_catalogue
from fewmask.errors import DataError, SettingsError
from fewmask.job import Outcome

PAGE = Path(__file__).parents[1] / "docs" / "getting-started" / "python-api.md"


def test_names_are_lazy() -> None:
    script = (
        "import sys, fewmask\n"
        "print(any(name in sys.modules for name in ('torch', 'monai', 'numpy', 'fewmask.api')))\n"
        "from fewmask import scan, train, predict, evaluate, run\n"
        "print(scan.__module__, 'fewmask.api' in sys.modules)\n"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["False", "fewmask.intake", "True"]


def test_names() -> None:
    assert fewmask.run is api.run and fewmask.train is api.train
    assert callable(fewmask.train), "the package training must not hide the function"
    with pytest.raises(AttributeError, match="module 'fewmask' has no attribute 'trian'"):
        _ = fewmask.trian
    with pytest.raises(ImportError, match="trian"):
        from fewmask import trian  # noqa: F401


@pytest.mark.parametrize("name", ["scan", "train", "predict", "evaluate", "run"])
def test_typed_and_documented(name: str) -> None:
    function = getattr(fewmask, name)
    signature = inspect.signature(function)
    assert function.__doc__
    assert signature.return_annotation is not inspect.Signature.empty
    assert all(parameter.annotation is not inspect.Parameter.empty for parameter in signature.parameters.values())


def test_scan(phantoms: Path, tmp_path: Path) -> None:
    catalogue = api.scan(phantoms, tmp_path / "catalogue")
    assert len(catalogue.cases) == 6
    assert api.scan(tmp_path / "catalogue").cases == catalogue.cases


def test_scan_checks_a_catalogue_too(phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    catalogue = api.scan(phantoms, quiet=True)
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"no image")
    cases = (replace(catalogue.cases[0], images=(broken,)), *catalogue.cases[1:])
    write_catalogue(replace(catalogue, cases=cases), tmp_path / "catalogue")
    with pytest.raises(DataError, match=r"broken\.nii\.gz"):
        api.scan(tmp_path / "catalogue", quiet=True)
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_settings_as_text_or_values_are_the_same_order(finished: Outcome, phantoms: Path, tiny_words) -> None:
    """The run of `finished` was ordered with nested values and numbers."""
    again = api.run(
        str(phantoms), str(finished.run.root), labelled="2", val="1", test="1", settings=tiny_words, quiet=True
    )
    assert again.summaries == finished.summaries
    with pytest.raises(SettingsError, match="holds another run"):
        api.run(phantoms, finished.run.root, labelled=2, quiet=True)


def test_one_text_is_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    orders = []
    monkeypatch.setattr(api.job, "train", lambda order, out, resume: orders.append(order))
    api.train(tmp_path, tmp_path / "run", recipes="cpu", settings="train.steps=3")
    api.train(tmp_path, tmp_path / "run", recipes=["cpu"], settings=["train.steps=3"])
    assert orders[0] == orders[1]
    assert (orders[0].request.recipes, orders[0].request.settings) == (("cpu",), {"train": {"steps": 3}})


@pytest.mark.slow
def test_predict_and_evaluate(finished: Outcome, phantoms: Path, tmp_path: Path) -> None:
    image = phantoms / "imagesTr" / "patient005_frame01_0000.nii.gz"
    for model in (finished.run.root, finished.run.model):
        paths = api.predict(model, image, tmp_path / model.name, device="cpu", quiet=True)
        assert len(paths) == 1 and paths[0].name.endswith(".nii.gz")
    split = json.loads(finished.run.split.read_text())
    catalogue = api.scan(phantoms)
    summary = api.evaluate(
        finished.run.predictions, catalogue, tmp_path / "scores", cases=split["val"], split="val", quiet=True
    )
    assert summary["cases"] == 1
    assert summary["dice"] == finished.summaries["val"]["dice"]


@pytest.mark.slow
def test_the_documented_snippets_run(phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All Python blocks of the page in order, in one namespace, from a folder with the phantoms as `images`."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.S | re.M)
    assert len(blocks) >= 5
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").symlink_to(phantoms, target_is_directory=True)
    namespace: dict = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), namespace)
    assert (tmp_path / "runs" / "hearts" / "report.html").is_file()
