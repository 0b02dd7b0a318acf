"""Ctrl-C and SIGTERM request a training to save its state and end; a second one ends it at once."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Stopped(BaseException):
    """Raised after a signal, when a training has saved its state. No Exception, so that no handler catches it.

    Args:
        signal_number: the signal.
        saved: false for a command without a state to save.
    """

    def __init__(self, signal_number: int, saved: bool = True):
        super().__init__(signal_number)
        self.signal_number, self.saved = signal_number, saved


class StopRequest:
    """A request to stop, with its signal."""

    def __init__(self) -> None:
        self.signal_number = 0

    def __bool__(self) -> bool:
        return self.signal_number != 0


@contextlib.contextmanager
def listening() -> Iterator[StopRequest]:
    """A context in which signals only set the request. In a thread that cannot set handlers, nothing is changed."""
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
