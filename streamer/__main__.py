"""`streamer`, and `python -m streamer`."""

import gc
import os
import signal
import sys
import threading
from io import TextIOWrapper
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130


def main() -> NoReturn:
    """Run the program: whatever happens it ends with its exit status, and without a traceback."""
    # NumPy's linear algebra, of which next to nothing is used, would start a thread for each other
    # core, and they look for work in a busy loop: .2 CPU seconds of every start on two cores.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    _open_closed()
    status = _flushed(_run())
    if any(thread.daemon for thread in threading.enumerate()):
        # A driver, a network library or a dead disk holds it: it may not wake in what is torn down.
        os._exit(status)
    # What is left goes with the process: to look for garbage in it takes a tenth of a second.
    gc.freeze()
    sys.exit(status)


def _open_closed() -> None:
    """Let what was closed (`>&-`) lead nowhere: else the first file that is opened, a table say,
    gets the number under which libraries print their warnings.
    """
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if stream is None:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, so the stream's


def _run() -> int:
    """The exit status. Ctrl-C is a reason to stop from the first moment on, not an error."""
    pressed: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        pressed.append(number)
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, handle)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a code page of Windows lacks what others have
    try:
        from streamer import cli  # noqa: PLC0415 - Ctrl-C may come while it is loaded

        cli.main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        if not pressed:  # extensions that are interrupted while they are loaded raise other errors
            raise
        return INTERRUPTED
    return 0


def _flushed(status: int) -> int:
    """Bring what was printed to where it goes; the exit status then."""
    if sys.stdout is None:  # closed from the beginning: nothing is wanted
        return status
    try:
        sys.stdout.flush()
    except OSError as error:
        # Python would try again at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not status and not isinstance(error, BrokenPipeError):  # `| head` wants no more
            print(f"streamer: the output can't be written: {error.strerror}", file=sys.stderr)
        return status or 1
    return status


if __name__ == "__main__":
    main()
