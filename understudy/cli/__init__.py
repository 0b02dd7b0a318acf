"""The command line. Exit codes: 0 success, 2 a user's mistake, 1 failure, 128 + n stopped by signal n."""

import os
import signal
import sys
import threading
from types import FrameType

IMPORT = "<frozen importlib._bootstrap>"  # the code that imports modules


def main() -> None:
    """The entry point. A user's mistake ends in one line, never in a traceback."""
    installs = threading.current_thread() is threading.main_thread()
    installs = installs and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if installs:
        signal.signal(signal.SIGINT, _interrupted)
    try:
        _start()
    finally:
        if installs:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _start() -> None:
    try:
        from understudy.cli._app import run
    except MemoryError:
        sys.stderr.write("understudy: there is not enough memory to import PyTorch\n")
        sys.exit(1)
    sys.exit(run())


def _interrupted(number: int, frame: FrameType | None) -> None:
    """Raise a KeyboardInterrupt, or leave at once while a module is imported.

    An exception within an import is not safe: NumPy and PyTorch turn it into another one, and modules stay halfway.
    """
    place = frame
    while place is not None:
        if place.f_code.co_filename == IMPORT:
            os.write(2, b"\nunderstudy: stopped by SIGINT\n")
            os._exit(128 + number)
        place = place.f_back
    signal.default_int_handler(number, frame)
