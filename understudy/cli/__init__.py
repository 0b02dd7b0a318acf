"""The command line. Exit codes: 0 success, 2 a user's mistake, 1 failure, 128 + n stopped by signal n."""

import os
import signal
import sys
import threading
from types import FrameType


def main() -> None:
    """The entry point. A user's mistake ends in one line, never in a traceback."""
    if threading.current_thread() is not threading.main_thread():
        _start()
    before = signal.signal(signal.SIGINT, _leave)  # an exception raised while PyTorch is imported could appear anywhere
    try:
        from understudy.cli import _app as _app
    except MemoryError:
        sys.stderr.write("understudy: there is not enough memory to import PyTorch\n")
        sys.exit(1)
    finally:
        signal.signal(signal.SIGINT, before)
    _start()


def _start() -> None:
    from understudy.cli._app import run

    sys.exit(run())


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, b"\nunderstudy: stopped by SIGINT before anything began\n")
    os._exit(128 + number)
