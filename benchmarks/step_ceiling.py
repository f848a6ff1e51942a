"""How little time can a step's convolutions and matrix products take here?"""

import statistics
from collections import defaultdict

from benchmarks import log
from benchmarks.contender import Contender

NUM_VIEWS = 2


class Ceiling:
    """Every product of a step by itself, by the fastest that there is for it.

    Args:
        operations: as `benchmarks/step_keras.py` lists them, of one view.
        libraries: processes that time each of them.
    """

    def __init__(self, operations: list[dict], libraries: list[Contender]):
        self._operations = operations
        self._libraries = libraries
        # By precision, operation and part: the seconds of every call, by who does it.
        self._calls = defaultdict(lambda: defaultdict(list))

    def measure(self, precision: str, num_calls: int):
        """Has every library do every operation a number of times."""
        for library in self._libraries:
            answer = library.ask(precision, num_calls)["seconds"]
            for i, parts in enumerate(answer):
                for part, calls in parts.items():
                    for name, seconds in calls.items():
                        self._calls[precision, i, part][name] += seconds

    def seconds(self, precision: str) -> float:
        """Returns the sum of a step's medians."""
        return sum(count * seconds for *_, count, seconds in self._fastest(precision))

    def table(self, precision: str) -> str:
        """Returns what each operation takes, and of whom, in Markdown."""
        whole = self.seconds(precision)
        rows = [("", "part", "a step", "ms each", "of all", "GFLOP/s", "fastest")]
        for operation, part, name, count, seconds in self._fastest(precision):
            rows.append(
                (
                    title(operation),
                    part,
                    str(count),
                    f"{1000 * seconds:.2f}",
                    f"{count * seconds / whole:.1%}",
                    f"{num_flops(operation) / seconds / 1e9:,.0f}",
                    name,
                )
            )
        return log.markdown_table(rows)

    def _fastest(self, precision: str):
        """Yields operation, part, who is fastest, how many a step, seconds of each."""
        for i, operation in enumerate(self._operations):
            for part in operation["parts"]:
                calls = self._calls[precision, i, part]
                medians = {n: statistics.median(calls[n]) for n in calls}
                name = min(medians, key=medians.get)
                count = NUM_VIEWS * operation["count"]
                yield operation, part, name, count, medians[name]


def title(operation: dict) -> str:
    sizes = operation["sizes"]
    if operation["kind"] != "convolution":
        return f"{operation['kind']}, {' x '.join(map(str, sizes))}"
    _, side, num_in, num_out, kernel, stride, _ = sizes
    return f"{kernel} x {kernel}, {num_in} to {num_out}, {side} pixels by {stride}"


def num_flops(operation: dict) -> int:
    """Returns multiplications and additions, the same for all parts."""
    sizes = operation["sizes"]
    if operation["kind"] == "convolution":
        batch, side, num_in, num_out, kernel, stride, padding = sizes
        new_side = (side + 2 * padding - kernel) // stride + 1
        return 2 * batch * new_side**2 * num_out * kernel**2 * num_in
    if operation["kind"] == "dense":
        batch, num_in, num_out = sizes
        return 2 * batch * num_in * num_out
    batch, width = sizes
    return 2 * batch * width * min(batch, width)
