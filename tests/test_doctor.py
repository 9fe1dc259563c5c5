"""doctor: versions from metadata, the pip line of what is missing, devices on request."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import requires, version

import pytest

from fewmask import __version__, doctor
from fewmask.errors import FewmaskError


def test_versions_are_those_installed() -> None:
    found = doctor.examine()
    assert found["fewmask"] == __version__
    assert found["packages"]["numpy"] == version("numpy")
    assert found["packages"]["torch"] == version("torch")
    assert len(found["packages"]) == sum("extra ==" not in line for line in requires("fewmask"))
    assert "torch" not in found
    assert found["cores"] >= 1


def test_extras_name_their_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "tensorboard" else "1.0")
    found = doctor.examine()
    assert found["extras"]["tensorboard"] == {
        "packages": {"tensorboard": None},
        "install": "pip install 'fewmask[tensorboard]'",
    }
    assert "[tensorboard] missing: pip install 'fewmask[tensorboard]'" in doctor.text(found).splitlines()


def test_a_missing_requirement_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "h5py" else "1.0")
    assert "h5py        missing: pip install h5py" in doctor.text(doctor.examine()).splitlines()


def test_an_unknown_package_has_no_version() -> None:
    assert doctor._version("no-such-package-as-this") is None


@pytest.mark.slow
def test_devices_come_from_another_process() -> None:
    script = (
        "import sys, json; from fewmask import doctor; found = doctor.examine(devices=True); "
        "print(json.dumps(['torch' in sys.modules, found['torch']['devices'], found['torch']['torch']]))"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.startswith("[false, [")
    assert version("torch").split("+")[0] in answer.stdout


def test_devices_in_words() -> None:
    found = doctor.examine()
    found["torch"] = {"torch": "2.13.0", "cuda": None, "threads": 2, "devices": []}
    assert doctor.text(found).splitlines()[-2:] == [
        "torch 2.13.0: CUDA not built in, 2 threads",
        "no CUDA device: runs use the cpu tier",
    ]
    found["torch"]["devices"] = [{"device": "cuda:0", "name": "A100", "memory_gb": 80.0}]
    assert doctor.text(found).splitlines()[-1] == "cuda:0      A100, 80.0 GB"


def test_a_broken_torch_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_ASK_TORCH", "raise ImportError('libcudart.so is missing')")
    with pytest.raises(FewmaskError, match=r"torch cannot be imported: ImportError: libcudart.so is missing; install"):
        doctor.examine(devices=True)
