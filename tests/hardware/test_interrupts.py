"""A signal ends the program with one line and status 130, wherever it arrives."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.conftest import ROOT
from vicreg_keras import cli
from vicreg_keras.hardware import interrupts


@pytest.fixture(autouse=True)
def _handlers(monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    # Tests may have been started by `nohup`.
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    numbers = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
    earlier = {one: signal.getsignal(one) for one in numbers}
    yield
    assert earlier == {one: signal.getsignal(one) for one in earlier}
    signal.signal(signal.SIGHUP, before)


def send(number):
    os.kill(os.getpid(), number)
    time.sleep(0.01)


class SendsWhenDeleted:
    def __del__(self):
        send(signal.SIGTERM)


def interrupted_as_another_error():
    try:
        send(signal.SIGINT)
    except KeyboardInterrupt as error:
        raise ImportError("initialization failed") from error


def interrupted_where_nothing_can_be_raised():
    thing = SendsWhenDeleted()
    del thing
    time.sleep(30)


def interrupted_and_dropped():
    try:
        send(signal.SIGINT)
    except KeyboardInterrupt:
        return 0


def interrupted_twice():
    try:
        send(signal.SIGTERM)
    finally:
        send(signal.SIGTERM)  # While it cleans up.


@pytest.mark.parametrize(
    "work",
    [
        lambda: send(signal.SIGINT),
        lambda: send(signal.SIGTERM),
        lambda: send(signal.SIGHUP),
        interrupted_as_another_error,
        interrupted_where_nothing_can_be_raised,
        interrupted_and_dropped,
        interrupted_twice,
    ],
)
def test_a_signal_in_a_mode_is_one_line(work, monkeypatch, run_main, tmp_path):
    monkeypatch.setattr(cli, "_run_mode", lambda *arguments: work())
    code, _, err = run_main("--mode=pretrain", f"--workdir={tmp_path}")
    assert (code, err) == (130, "main.py: Interrupted.\n")


def test_threads_that_end_by_it_say_nothing(monkeypatch, run_main, tmp_path):
    def work():
        thread = threading.Thread(target=lambda: time.sleep(0.1) or [][0])
        thread.start()
        try:
            send(signal.SIGINT)
        finally:
            thread.join()

    monkeypatch.setattr(cli, "_run_mode", lambda *arguments: work())
    code, _, err = run_main("--mode=pretrain", f"--workdir={tmp_path}")
    assert (code, err) == (130, "main.py: Interrupted.\n")


def test_what_nohup_ignores_stays_ignored(monkeypatch, run_main, tmp_path):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    monkeypatch.setattr(cli, "_run_mode", lambda *arguments: send(signal.SIGHUP) or 0)
    code, _, err = run_main("--mode=pretrain", f"--workdir={tmp_path}")
    assert (code, err) == (0, "")
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def test_without_a_signal_errors_and_hooks_are_as_they_were():
    hooks = sys.unraisablehook, threading.excepthook
    with pytest.raises(ImportError), interrupts.raise_at_signals():
        raise ImportError
    assert hooks == (sys.unraisablehook, threading.excepthook)


DROPPED = "try:\n  begin()\n  {work}\nexcept: pass\ntime.sleep(60)"


# The second works on in C, where no exception arrives.
@pytest.mark.parametrize(
    "work", ["time.sleep(60)", "hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"]
)
def test_a_signal_that_a_library_drops_ends_the_process(work):
    code = DROPPED.format(work=work)
    program = (
        "import hashlib, time\n"
        "from vicreg_keras.hardware import interrupts\n"
        "interrupts._PATIENCE = interrupts._CLEANING = 0.3\n"
        "def begin(): print('begun', flush=True)\n"
        f"with interrupts.raise_at_signals(): exec({code!r})\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "begun\n"
    process.terminate()
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "main.py: Interrupted.\n")


def catches_signals(process):
    """Whether a process has a handler of SIGTERM, which Python itself has not."""
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    mask = int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16)
    return mask >> (signal.SIGTERM - 1) & 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("seconds", [0, 1])
def test_a_signal_while_the_program_starts_is_one_line(seconds, tmp_path):
    process = subprocess.Popen(
        [sys.executable, ROOT / "main.py", "--mode=pretrain", f"--workdir={tmp_path}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not catches_signals(process):
        time.sleep(0.001)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "main.py: Interrupted.\n")
