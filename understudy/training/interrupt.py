"""Ctrl-C and SIGTERM ask a training to save and leave; a second one leaves at once."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Stopped(BaseException):
    """A training that was asked to stop has saved its state. Not an Exception: nobody should swallow it.

    Args:
        signal_number: by which signal it was asked.
        saved: false of a command that has no state to save.
    """

    def __init__(self, signal_number: int, saved: bool = True):
        super().__init__(signal_number)
        self.signal_number, self.saved = signal_number, saved


class StopRequest:
    """Whether somebody asked, and by which signal."""

    def __init__(self) -> None:
        self.signal_number = 0

    def __bool__(self) -> bool:
        return self.signal_number != 0


@contextlib.contextmanager
def listening() -> Iterator[StopRequest]:
    """While this lasts, signals only leave a request. In a thread that may not set handlers, nothing is changed."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) or signal.SIG_DFL for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: FrameType | None) -> None:
        request.signal_number = number
        for other, handler in before.items():
            signal.signal(other, handler)

    for number in before:
        signal.signal(number, ask)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
