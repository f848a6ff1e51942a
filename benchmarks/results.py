"""The README's accuracies, measured again.

    python -m benchmarks.results [--minutes 20] [--only RECIPE] [--data_dir DIR]

`results.json` lists every accuracy in percent of the README that this project has
measured, as it is written there, with the recipe, the number of seeds, what the numbers
are in the run's records, and the minutes that a seed takes on two cores. Recipes that
fit into the minutes are trained from each seed and evaluated by `main.py`. A number
agrees if it is within two standard errors of the README's, or within a point where one
of the two has a single seed.
"""

import argparse
import json
import math
import pathlib
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.contender import ROOT, run_main
from benchmarks.log import commit, machine, markdown_table, report

ENTRIES = pathlib.Path(__file__).with_suffix(".json")
_ONE_SEED = 1.0  # Percentage points.


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=20, help="of a row, at most")
    parser.add_argument("--only", default="", metavar="RECIPE")
    parser.add_argument("--data_dir", help="as main.py's")
    parser.add_argument("--log", metavar="LOG.md", help="the table becomes an entry")
    options = parser.parse_args()
    more = [f"--data_dir={options.data_dir}"] if options.data_dir else []
    lines = [("recipe", "number", "seeds", "README", "now", "result")]
    for entry in json.loads(ENTRIES.read_text("utf-8")):
        if options.only not in entry["recipe"]:
            continue
        minutes = entry["minutes"] * entry["seeds"]
        if minutes > options.minutes:
            found, reason = None, f"takes {minutes} minutes"
        else:
            found, reason = measure(entry, more), ""
        for text, place in entry["numbers"].items():
            values = [100 * value_at(records, place) for records in found or ()]
            now = describe(values) if values else "-"
            result = reason or ("agrees" if agrees(text, values) else "DIFFERS")
            lines.append(
                (entry["recipe"], place, f"{entry['seeds']}", text, now, result)
            )
            print("  ".join(lines[-1]), flush=True)
    question = "are the README's accuracies what the code gives today?"
    setting = f"{machine()}; commit {commit()}"
    report(options.log, "results", question, setting, markdown_table(lines))


def measure(entry: Mapping[str, Any], more: Sequence[str]) -> list[dict[str, Any]]:
    """Trains a recipe from each seed; returns the last records by mode, per seed.

    Args:
        entry: An entry of `results.json`.
        more: Flags of main.py, after the recipe's.
    """
    recipe = ROOT / "flags" / f"{entry['recipe']}.flags"
    found = []
    for seed in range(entry["seeds"]):
        with tempfile.TemporaryDirectory() as folder:
            place = f"--workdir={folder}"
            run_main(f"--flagfile={recipe}", f"--seed={seed}", place, *more)
            for mode in entry["modes"]:
                run_main(f"--mode={mode}", place, *more)
            lines = pathlib.Path(folder, "metrics.jsonl").read_text("utf-8")
        records = map(json.loads, lines.splitlines())
        found.append({record["mode"]: record for record in records})
    return found


def value_at(records: Mapping[str, Any], place: str) -> float:
    """Returns a number by mode, what was evaluated and the names below that."""
    mode, *names = place.split(".")
    value = records[mode]["results"]
    for name in names:
        value = value[name]
    return value


def describe(values: Sequence[float]) -> str:
    """Returns the mean of some seeds and its deviation, as the README has them."""
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{spread}"


def agrees(text: str, values: Sequence[float]) -> bool:
    """Returns whether values may be from where the README's are.

    Args:
        text: The README's mean and deviation, of as many seeds.
        values: One for each seed.
    """
    mean, *spread = map(float, text.split(" ± "))
    if len(values) < 2 or not spread:
        return abs(statistics.mean(values) - mean) <= _ONE_SEED
    variances = [spread[0] ** 2, statistics.variance(values)]
    error = math.sqrt(sum(variances) / len(values))
    return abs(statistics.mean(values) - mean) <= 2 * error + 0.005


if __name__ == "__main__":
    main()
