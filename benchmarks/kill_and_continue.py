"""Kill a run with SIGKILL at random moments, continue it by the same command, and compare it with an undisturbed one.

    python benchmarks/kill_and_continue.py ../shared/data/acdc --labelled 3 --val 10 --method fixmatch --steps 300

Everything after the script's own options goes to `fewmask run`.  Equal means: the same weights, bit for bit, the same
logged losses and the same masks.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def command(arguments: list[str], out: Path) -> list[str]:
    return [sys.executable, "-m", "fewmask", "run", *arguments, "--out", str(out), "--quiet"]


def fingerprint(out: Path) -> dict[str, str]:
    """Hashes of what must not depend on interruptions."""
    files = [out / "last" / "model.safetensors", out / "model" / "model.safetensors"]
    files += sorted((out / "predictions").glob("*.*"))
    found = {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    kept = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    for step, entry in ((entry["step"], entry) for entry in kept):
        if "val" in entry:  # lines between validations depend on the clock
            found[f"log {step}"] = json.dumps([entry["terms"], entry["val"]])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--longest", type=float, default=60.0, help="seconds before a kill, at most")
    parser.add_argument("--random", type=int, default=0, help="seed of the moments")
    asked, arguments = parser.parse_known_args()
    chance = random.Random(asked.random)
    with tempfile.TemporaryDirectory() as name:
        whole, broken = Path(name, "whole"), Path(name, "broken")
        subprocess.run(command(arguments, whole), check=True)
        kills = 0
        while kills < asked.kills:
            process = subprocess.Popen(command(arguments, broken))
            time.sleep(chance.uniform(5.0, asked.longest))
            process.kill()
            if process.wait() != -signal.SIGKILL:
                break
            kills += 1
            log = broken / "log.jsonl"
            lines = log.read_text().splitlines() if log.exists() else []
            print(f"killed; the log ends with step {json.loads(lines[-1])['step'] if lines else 0}")
        subprocess.run(command(arguments, broken), check=True)
        one, other = fingerprint(whole), fingerprint(broken)
        differing = [key for key in one.keys() | other.keys() if one.get(key) != other.get(key)]
    print(f"{kills} kills, {len(one)} things compared, {len(differing)} differ {differing[:5]}")
    sys.exit(bool(differing) or not kills)


if __name__ == "__main__":
    main()
