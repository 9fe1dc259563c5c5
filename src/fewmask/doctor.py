"""Versions and optional parts, from package metadata alone; devices from a process of their own that imports torch."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution, version
from typing import Any

from fewmask import __version__
from fewmask.device import cores
from fewmask.errors import FewmaskError

_ASK_TORCH = """
import json, torch
devices = [{"device": f"cuda:{i}", "name": p.name, "memory_gb": round(p.total_memory / 2**30, 1)}
           for i, p in ((i, torch.cuda.get_device_properties(i)) for i in range(torch.cuda.device_count()))]
print(json.dumps({"torch": torch.__version__, "cuda": torch.version.cuda, "threads": torch.get_num_threads(),
                  "devices": devices}))
"""


def examine(devices: bool = False) -> dict[str, Any]:
    """What is installed and what is missing, as plain values; `devices` adds what torch sees."""
    needed, extras = _requirements()
    found: dict[str, Any] = {
        "fewmask": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": cores(),
        "packages": {name: _version(name) for name in needed},
        "extras": {
            extra: {
                "packages": {name: _version(name) for name in names},
                "install": f"pip install 'fewmask[{extra}]'",
            }
            for extra, names in extras.items()
        },
    }
    if devices:
        found["torch"] = _devices()
    return found


def text(found: dict[str, Any]) -> str:
    """The same for people: a line a package, and how to install what is missing."""
    lines = [
        f"fewmask     {found['fewmask']}",
        f"python      {found['python']}  {found['platform']}  {found['cores']} cores",
    ]
    for name, installed in found["packages"].items():
        lines.append(f"{name:<11} {installed or f'missing: pip install {name}'}")
    for extra, part in found["extras"].items():
        missing = [name for name, installed in part["packages"].items() if installed is None]
        lines.append(f"[{extra}]".ljust(11) + (f" missing: {part['install']}" if missing else " installed"))
    if "torch" in found:
        torch = found["torch"]
        lines.append(f"torch {torch['torch']}: CUDA {torch['cuda'] or 'not built in'}, {torch['threads']} threads")
        lines += [f"{device['device']:<11} {device['name']}, {device['memory_gb']} GB" for device in torch["devices"]]
        if not torch["devices"]:
            lines.append("no CUDA device: runs use the cpu tier")
    return "\n".join(lines)


def _requirements() -> tuple[list[str], dict[str, list[str]]]:
    """(packages that fewmask needs, extra -> packages), from its own metadata."""
    needed: list[str] = []
    extras: dict[str, list[str]] = {}
    for line in distribution("fewmask").requires or ():
        name = re.match(r"[\w.-]+", line)[0]
        extra = re.search(r"extra == ['\"]([^'\"]+)", line)
        (extras.setdefault(extra[1], []) if extra else needed).append(name)
    return needed, extras


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _devices() -> dict[str, Any]:
    """What torch says of this machine; raises FewmaskError where it cannot be imported."""
    answer = subprocess.run([sys.executable, "-c", _ASK_TORCH], capture_output=True, text=True)
    if answer.returncode:
        reason = (answer.stderr.strip().splitlines() or ["no message"])[-1]
        raise FewmaskError(
            f"torch cannot be imported: {reason}; install it anew with pip install --force-reinstall torch"
        )
    return json.loads(answer.stdout)
