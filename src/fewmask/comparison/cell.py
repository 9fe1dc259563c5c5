"""One cell in a process of its own: `python -m fewmask.comparison.cell`, with its order on the standard input."""

from __future__ import annotations

import json
import resource
import sys
import threading
from collections.abc import Mapping
from typing import Any

from fewmask import api, failure
from fewmask.comparison.grid import DONE
from fewmask.comparison.workers import leave_with_parent
from fewmask.runs import COMMAND, Run, atomic_write, read_log


def main() -> int:
    """Read the order, do the run, write what it took; returns the exit status of `fewmask run`."""
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=leave_with_parent, daemon=True).start()
    try:
        work(order)
    except Exception as error:
        message, status = failure.explain(error)
        print(message, file=sys.stderr)
        return status
    return 0


def work(order: Mapping[str, Any]) -> None:
    """`order`: `run`, the arguments of api.run; `command`, the same for a shell; `device`."""
    COMMAND.set(list(order["command"]))
    outcome = api.run(**order["run"], device=order["device"], quiet=True)
    atomic_write(outcome.run.root / DONE, json.dumps(cost(outcome.run), indent=2) + "\n")


def cost(run: Run) -> dict[str, float | None]:
    """Minutes of training over all sittings; memory that this process held at most, in MB (10^6 bytes).

    After an interruption the memory is that of the last sitting.
    """
    log = read_log(run.log)
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "minutes": round(log[-1]["seconds"] / 60, 2) if log else None,
        "memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6),
        "gpu_memory_mb": _gpu_memory(),
    }


def _gpu_memory() -> float | None:
    import torch  # this process has it already

    return round(torch.cuda.max_memory_allocated() / 1e6) if torch.cuda.is_initialized() else None


if __name__ == "__main__":
    sys.exit(main())
