"""Processes that a benchmark measures, and how it talks to them.

A contender is a process of its own, so that its threads, memory and libraries are not
another's. It sends a greeting, then answers requests `[what, number]`; every line is
JSON, in both directions. This module needs the standard library alone, so that a Python
with PyTorch and without TensorFlow can run it.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator

ROOT = pathlib.Path(__file__).resolve().parent.parent
ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "3"} | os.environ
TOLERANCE = 1e-4


class Contender:
    """A process that works on request.

    Args:
        python: The interpreter.
        module: The program, such as `benchmarks.step_keras`.
        *arguments: Its arguments.

    Attributes:
        greeting: Its first answer.
        peak_bytes: Peak resident memory so far.
    """

    def __init__(self, python: str, module: str, *arguments: str):
        self._process = subprocess.Popen(
            [python, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=ENVIRONMENT,
        )
        self.greeting = self._read()
        self.peak_bytes = 0

    def ask(self, what: str, number: int) -> dict:
        """Returns the answer to one request."""
        print(json.dumps([what, number]), file=self._process.stdin, flush=True)
        answer = self._read()
        self.peak_bytes = answer["peak_bytes"]
        return answer

    def stop(self):
        """Ends the process and waits for it."""
        self._process.communicate()

    def _read(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"Ended with status {self._process.wait()}, see above.")
        return json.loads(line)


def serve(greeting: dict, answers: dict[str, Callable[[int], dict]]):
    """Sends the greeting, then answers requests until the input ends.

    Args:
        greeting: The first answer.
        answers: Functions of the requested number, by request; the process's peak
            memory is added to what they return.
    """
    send(greeting)
    for line in sys.stdin:
        what, number = json.loads(line)
        send({**answers[what](number), "peak_bytes": _peak_bytes()})


def send(values: dict):
    """Writes one line of JSON to the process that reads the output."""
    print(json.dumps(values), flush=True)


def run_main(*flags: str):
    """Runs main.py to its end, its output discarded.

    Raises:
        SystemExit: If it fails; its own message is on stderr.
    """
    process = subprocess.run(
        [sys.executable, "main.py", *flags],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        env=ENVIRONMENT,
        check=False,
    )
    if process.returncode:
        sys.exit(f"main.py ended with status {process.returncode}, see above.")


def read_answers(*arguments: str) -> Iterator[dict]:
    """Runs Python and yields the lines of JSON that it writes.

    Raises:
        SystemExit: If it fails; its own message is on stderr.
    """
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    for line in process.stdout:
        yield json.loads(line)
    if process.wait():
        name = " ".join(arguments[:2])
        sys.exit(f"{name} ended with status {process.returncode}, see above.")


def check_same_work(ours: dict, theirs: dict):
    """Prints the relative differences of loss and gradient.

    Args:
        ours: Greeting of the package's contender, with `loss` and `gradient` of two
            views.
        theirs: PyTorch's, of the same views and weights.

    Raises:
        SystemExit: If one differs by more than `TOLERANCE`.
    """
    for name in ("loss", "gradient"):
        difference = abs(ours[name] - theirs[name]) / abs(theirs[name])
        print(
            f"{name} of the same views: {ours[name]:.6f}; in PyTorch "
            f"{theirs[name]:.6f}; relative difference {difference:.1e}",
            flush=True,
        )
        if not difference < TOLERANCE:
            sys.exit(
                f"Expected a difference below {TOLERANCE:g}: they do not do the same "
                "work."
            )


def _peak_bytes() -> int:
    # Unlike ru_maxrss, it leaves out the process that started this one.
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])
