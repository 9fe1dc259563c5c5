"""A headless Chromium, steered over the pipe of its debugging protocol: real keys, real downloads, no network."""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WAIT_S = 60
MOVED = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execvp(sys.argv[3], sys.argv[3:])"
)
"""Becomes the browser, with two descriptors where it looks for them."""


def found() -> str | None:
    """The browser's program; None where none is installed."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One page.  `events` are what the browser said of its own accord."""

    def __init__(self, path: Path, folder: Path) -> None:
        """path: the file to open; folder: for the browser's own files and, in folder/downloads, what it saves."""
        self.events: list[dict[str, Any]] = []
        self.downloads = folder / "downloads"
        self.downloads.mkdir()
        reads, their_writes = os.pipe()
        their_reads, writes = os.pipe()
        # the browser reads from descriptor 3 and writes to 4; ours must not lie there when they are moved
        theirs = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (their_reads, their_writes)]
        words = [
            found(),
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-dev-shm-usage",
        ]
        words += [f"--user-data-dir={folder / 'profile'}", "--remote-debugging-pipe", "--window-size=1200,1000"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", MOVED, *map(str, theirs), *words, "about:blank"],
            pass_fds=theirs,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (their_reads, their_writes, *theirs):
            os.close(end)
        self._reads, self._writes, self._buffer, self._number = reads, writes, b"", 0
        self._session: str | None = None
        target = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads))
        self.call("Page.navigate", url=path.as_uri())
        self._until(lambda: any(event["method"] == "Page.loadEventFired" for event in self.events))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._reads)
        os.close(self._writes)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to one command."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        browsers = method.startswith(("Target.", "Browser."))
        if self._session and not browsers:
            message["sessionId"] = self._session
        os.write(self._writes, json.dumps(message).encode() + b"\0")
        answers: list[dict[str, Any]] = []
        self._until(lambda: any(answer["id"] == self._number for answer in answers), answers)
        answer = answers[-1]
        assert "error" not in answer, answer
        return answer["result"]

    def _until(self, done: Any, answers: list[dict[str, Any]] | None = None) -> None:
        end = time.monotonic() + WAIT_S
        while not done():
            assert time.monotonic() < end, "the browser does not answer"
            if not select.select([self._reads], [], [], 1)[0]:
                continue
            part = os.read(self._reads, 1 << 16)
            assert part, "the browser has ended"
            *messages, self._buffer = (self._buffer + part).split(b"\0")
            for message in map(json.loads, messages):
                if "id" in message:
                    assert answers is not None
                    answers.append(message)
                else:
                    self.events.append(message)

    def value(self, script: str) -> Any:
        """What an expression is in the page."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, script: str) -> None:
        """Until an expression is true in the page."""
        end = time.monotonic() + WAIT_S
        while not self.value(script):
            assert time.monotonic() < end, script
            time.sleep(0.1)

    def press(self, *keys: str) -> None:
        """Press and let go of each key, as a keyboard does."""
        for key in keys:
            words = {"key": key, "windowsVirtualKeyCode": ord(key.upper()) if len(key) == 1 else 0}
            text = {"text": key} if len(key) == 1 else {}
            self.call("Input.dispatchKeyEvent", type="keyDown", **words, **text)
            self.call("Input.dispatchKeyEvent", type="keyUp", **words)

    def saved(self, name: str) -> Path:
        """A file that the page has downloaded, whole."""
        path = self.downloads / name
        end = time.monotonic() + WAIT_S
        while not path.exists() or list(self.downloads.glob("*.crdownload")):
            assert time.monotonic() < end, "nothing was downloaded"
            time.sleep(0.05)
        return path

    def troubles(self) -> list[dict[str, Any]]:
        """Errors of the page, what its policy refused, and every request for anything but itself and its own data."""
        found = []
        for event in self.events:
            method, values = event["method"], event["params"]
            refused = method == "Log.entryAdded" and values["entry"]["level"] == "error"
            if refused or method in ("Runtime.exceptionThrown", "Page.javascriptDialogOpening"):
                found.append(values)
            elif method == "Network.requestWillBeSent":
                url = values["request"]["url"]
                if not url.startswith(("data:", "blob:", "file:///")):
                    found.append(values)
        return found

    def picture(self, path: Path) -> None:
        """The page as it looks, as a PNG."""
        import base64

        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
