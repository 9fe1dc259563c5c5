"""Time and memory of a scan of many small files, of one that was interrupted, and of one that finds nothing changed.

    python benchmarks/scan.py --pairs 10000        # 20,000 pictures of 32 x 32; about two minutes on two cores

Prints seconds, milliseconds a file and the highest resident memory of each scan; a scan of 50 pairs tells what memory
is fewmask itself.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image


def write_pairs(folder: Path, count: int) -> None:
    """images/ and masks/ with `count` pictures each."""
    chance = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number in range(count):
        values = chance.integers(0, 256, (32, 32)).astype(np.uint8)
        Image.fromarray(values).save(folder / "images" / f"p{number:06d}.png")
        Image.fromarray((values > 128).astype(np.uint8)).save(folder / "masks" / f"p{number:06d}.png")


def scan(data: Path, out: Path, stop_after: float | None = None) -> tuple[float, int, int]:
    """Seconds, exit status, and the highest resident memory (MiB) of any scan so far."""
    started = time.monotonic()
    words = [sys.executable, "-m", "fewmask", "scan", str(data), "--out", str(out), "--quiet"]
    child = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        child.wait(stop_after)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGINT)
        child.wait()
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    return time.monotonic() - started, child.returncode, peak


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pairs", type=int, default=10_000)
    options.add_argument("--stop-after", type=float, default=15.0, help="seconds until the first scan is interrupted")
    chosen = options.parse_args()
    root = Path(tempfile.mkdtemp(prefix="fewmask-scan-"))
    try:
        write_pairs(root / "few", 50)
        write_pairs(root / "many", chosen.pairs)
        for name, data, stop in (
            ("50 pairs", "few", None),
            ("interrupted", "many", chosen.stop_after),
            ("continued", "many", None),
            ("nothing changed", "many", None),
        ):
            seconds, status, peak = scan(root / data, root / f"catalogue of {data}", stop)
            each = 1000 * seconds / (2 * (50 if data == "few" else chosen.pairs))
            print(f"{name:<16} status {status}  {seconds:7.1f} s  {each:6.2f} ms a file  {peak} MiB at most so far")
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
