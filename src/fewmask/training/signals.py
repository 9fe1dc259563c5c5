"""SIGINT and SIGTERM as a request that the loop answers between two steps."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class StopRequest:
    """Whether a signal has asked for an end."""

    asked: bool = False


@contextmanager
def listening() -> Iterator[StopRequest]:
    """A request that SIGINT and SIGTERM set; a second SIGINT raises KeyboardInterrupt at once."""
    request = StopRequest()

    def ask(number: int, frame: object) -> None:
        if request.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.asked = True

    try:
        previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread, where Python has no say over signals
        previous = {}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
