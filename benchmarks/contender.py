"""Two sides of a benchmark: processes that work when told to, and who tells them.

Each contender is a process, so that one's threads, memory and libraries are not the
other's. It says a greeting, then answers every request; requests are `[what, number]`,
and every line either way is JSON. The standard library is enough for either side.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Callable

TOLERANCE = 1e-4


class Contender:
    """A process that trains when it is told to.

    Args:
        python: what to run.
        module: its program, such as `benchmarks.rows_keras`.
        *arguments: of it.

    Attributes:
        greeting: what it said first.
        peak_bytes: the most memory that it has held so far.
        wait_seconds: the longest that a fit's end has waited so far.
    """

    def __init__(self, python: str, module: str, *arguments: str):
        self._process = subprocess.Popen(
            [python, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"TF_CPP_MIN_LOG_LEVEL": "3"} | os.environ,
        )
        self.greeting = self._read()
        self.peak_bytes = 0
        self.wait_seconds = 0.0

    def ask(self, what: str, number: int) -> dict:
        """Returns its answer to one request."""
        print(json.dumps([what, number]), file=self._process.stdin, flush=True)
        said = self._read()
        self.peak_bytes = said["peak_bytes"]
        return said

    def train(self, num_steps: int) -> tuple[float, float]:
        """Returns the seconds that it took, on the clock and of all cores."""
        said = self.ask("train", num_steps)
        self.wait_seconds = max(self.wait_seconds, said["wait_seconds"])
        return said["seconds"], said["cpu_seconds"]

    def stop(self):
        """Ends the process and waits for it."""
        self._process.communicate()

    def _read(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"Ended with status {self._process.wait()}, see above.")
        return json.loads(line)


def serve(greeting: dict, answers: dict[str, Callable[[int], dict]]):
    """Says the greeting, then answers requests until there are no more.

    Args:
        greeting: said first.
        answers: from what is asked to a function of the number beside it. How much
            memory the process has held at most is added to what that returns.
    """
    _say(greeting)
    for line in sys.stdin:
        what, number = json.loads(line)
        _say({**answers[what](number), "peak_bytes": _peak_bytes()})


def check_same_work(ours: dict, theirs: dict):
    """Prints how far loss and gradient are apart, and ends where that is too far.

    Args:
        ours: greeting of the package's contender, with `loss` and `gradient` of two
            views.
        theirs: PyTorch's, of the same views and weights.
    """
    for number in ("loss", "gradient"):
        apart = abs(ours[number] - theirs[number]) / abs(theirs[number])
        print(
            f"{number} of the same views: {ours[number]:.6f} and "
            f"{theirs[number]:.6f} in PyTorch, {apart:.1e} apart",
            flush=True,
        )
        if not apart < TOLERANCE:
            sys.exit(f"Expected less than {TOLERANCE:g}: they do not do the same work.")


def _peak_bytes() -> int:
    """The most memory that this process has held at once.

    Unlike `ru_maxrss`, it knows nothing of the process that started this one.
    """
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])


def _say(values: dict):
    print(json.dumps(values), flush=True)
