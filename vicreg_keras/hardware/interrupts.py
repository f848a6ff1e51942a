"""SIGINT, SIGTERM and SIGHUP: the program ends with one line and status 130."""

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator

STATUS = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Seconds that code of a library may take to return, and the cleaning up after that.
_PATIENCE, _CLEANING = 10, 60
# Seconds within which another signal is the same wish: a terminal's and a supervisor's.
_REPEATED = 2
# A closed one would be the number of the first file that is opened.
for _number in range(3):
    try:
        os.fstat(_number)
    except OSError:
        os.open(os.devnull, os.O_RDWR)
# Also while `silent_stderr` has redirected it.
_STDERR = os.dup(2)


def heeded() -> tuple[signal.Signals, ...]:
    """Returns the signals that end the program.

    Not SIGHUP, where whoever started the program lets it ignore it, as `nohup` does.
    """
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return tuple(one for one in _SIGNALS if one != signal.SIGHUP or not ignored)


@contextlib.contextmanager
def exit_at_signals() -> Iterator[None]:
    """Ends the process at once, as long as there is nothing to clean up.

    An exception that is raised while a library is imported is often lost.
    """
    earlier = {number: signal.signal(number, _exit) for number in heeded()}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def let_signals_exit() -> None:
    """Does what `exit_at_signals` does from here on, until all is done."""
    for number in heeded():
        signal.signal(number, _exit)
        # While Python ends, no handler is called any more.
        atexit.register(signal.signal, number, signal.SIG_IGN)


@contextlib.contextmanager
def raise_at_signals() -> Iterator[None]:
    """Raises `KeyboardInterrupt` at a signal, whatever libraries make of it.

    It leaves this block although a library has made another exception of it. Where an
    exception can't be raised, as in `__del__`, it is raised again afterwards. Where a
    library computes on, or has dropped it, the process ends without it. Threads that
    end because of it say nothing.

    Raises:
        KeyboardInterrupt: After a signal, in the main thread.
    """
    interrupt = _Interrupt()
    earlier = {number: signal.signal(number, interrupt.handle) for number in heeded()}
    hooks = sys.unraisablehook, threading.excepthook
    sys.unraisablehook = interrupt.hook(sys.unraisablehook)
    threading.excepthook = interrupt.hook(threading.excepthook)
    # A handler runs when the main thread is back in Python: this thread hears at once.
    heard, said = os.pipe()
    os.set_blocking(said, False)
    wakeup = signal.set_wakeup_fd(said, warn_on_full_buffer=False)
    threading.Thread(target=interrupt.watch, args=(heard,), daemon=True).start()
    try:
        yield
    except BaseException as error:
        if not interrupt.raised.is_set():
            raise
        raise KeyboardInterrupt from error
    else:
        if interrupt.raised.is_set():  # A library has dropped it.
            raise KeyboardInterrupt
    finally:
        interrupt.left.set()
        signal.set_wakeup_fd(wakeup)
        os.close(said)
        for number, handler in earlier.items():
            signal.signal(number, handler)
        if not interrupt.raised.is_set():
            sys.unraisablehook, threading.excepthook = hooks


class _Interrupt:
    """What has become of the signals so far."""

    def __init__(self):
        self.raised, self.left = threading.Event(), threading.Event()
        self._raised_at = -float("inf")

    def handle(self, number, frame):
        del number, frame
        if time.monotonic() - self._raised_at > _REPEATED:
            self._raised_at = time.monotonic()
            self.raised.set()
            raise KeyboardInterrupt

    def hook(self, earlier):
        """Returns what `sys` or `threading` calls with an exception that is ignored."""

        def ignored(arguments):
            if not self.raised.is_set():
                earlier(arguments)
            elif issubclass(arguments.exc_type, KeyboardInterrupt):
                self._raised_at = -float("inf")
                again = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
                again.daemon = True
                again.start()

        return ignored

    def watch(self, heard):
        """Ends the process where the exception does not."""
        with open(heard, "rb", buffering=0) as signals:
            while number := signals.read(1):
                # Whoever else handles a signal, such as a training, ends in its time.
                if number[0] not in _SIGNALS:
                    continue
                if signal.getsignal(number[0]) != self.handle:
                    continue
                waits = (self.raised, _PATIENCE), (self.left, _CLEANING)
                if not all(event.wait(seconds) for event, seconds in waits):
                    _exit()


def say_interrupted() -> None:
    """Prints that the program was interrupted."""
    # Below a terminal's ^C.
    start = "\n" if sys.stderr.isatty() else ""
    print(f"{start}main.py: Interrupted.", file=sys.stderr, flush=True)


def _exit(*_):
    start = b"\n" if os.isatty(_STDERR) else b""
    with contextlib.suppress(OSError):
        os.write(_STDERR, start + b"main.py: Interrupted.\n")
    os._exit(STATUS)
