"""Accuracy of the recipes of CIFAR-10 on one budget, on the validation split.

    python -m benchmarks.recipes --minutes 5 --views 200000 --data_dir DIR

Each recipe is trained in a process of its own: for as many minutes as all others, and
for as many image views (--views; main.py's flag of that name is set in a flag file).
Its schedule is annealed to the budget: the warm-up takes the same part of it as of the
recipe's own epochs, and the learning rate ends where the recipe's does. Minutes are
those of the steps alone, without what compiles in the first; an image view is one view
of one image. The encoder is evaluated by the linear probe (protocol cached) and by
weighted kNN on one half of the validation split; the other half chooses their settings.
The test split is never read. Other flags are main.py's, after the recipe's.
"""

import argparse
import json
import pathlib

from benchmarks.contender import ROOT, read_answers
from benchmarks.log import commit, machine, markdown_table, report
from vicreg_keras.figures import text_table


def main():
    parser = make_parser()
    options, more = parser.parse_known_args()
    budgets = {"minutes": options.minutes, "views": options.views}
    budgets = {unit: amount for unit, amount in budgets.items() if amount is not None}
    if not budgets or min(budgets.values()) <= 0:
        parser.error(
            "Expected a budget above 0. Received: "
            f"minutes={options.minutes}, views={options.views}. Give --minutes or "
            "--views, or both."
        )
    if options.data_dir:
        more.append(f"--data_dir={options.data_dir}")
    results = []
    for unit, amount in budgets.items():
        for recipe in options.recipes or of_cifar10():
            result = {"recipe": pathlib.Path(recipe).stem, "budget": (unit, amount)}
            result |= run(recipe, unit, amount, more)
            print(json.dumps(result), flush=True)
            results.append(result)
    table = markdown_table(table_lines(results))
    evaluated = max(result.get("num_evaluated", 0) for result in results)
    setting = (
        f"{machine()}; commit {commit()}; n = 1; evaluated on {evaluated:,} "
        "validation images"
    )
    question = "what do the recipes of CIFAR-10 reach on one budget?"
    report(options.log, "recipes", question, setting, table)


def make_parser() -> argparse.ArgumentParser:
    # Without abbreviations, which could be flags of main.py.
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], allow_abbrev=False
    )
    parser.add_argument("recipes", nargs="*", help="flag files; all of CIFAR-10")
    parser.add_argument("--minutes", type=float, help="of training, for each")
    parser.add_argument("--views", type=int, help="of images, for each")
    parser.add_argument("--data_dir", help="as main.py's")
    parser.add_argument("--log", metavar="LOG.md", help="the table becomes an entry")
    return parser


def of_cifar10() -> list[pathlib.Path]:
    """Returns the flag files of the project that train on CIFAR-10."""
    return [
        path
        for path in sorted((ROOT / "flags").glob("*.flags"))
        if "--dataset=cifar10" in path.read_text(encoding="utf-8").splitlines()
    ]


def run(recipe: str, unit: str, amount: float, more: list[str]) -> dict:
    """Returns what one recipe reaches; `more` are flags of main.py."""
    flagfile = f"--flagfile={pathlib.Path(recipe).resolve()}"
    (numbers,) = read_answers(
        "-m", "benchmarks.recipes_run", unit, str(amount), flagfile, *more
    )
    return numbers


def table_lines(results: list[dict]) -> list[tuple[str, ...]]:
    """Returns the header and one line per run."""
    lines = [("recipe", "budget", "image views", "minutes", "linear", "kNN")]
    for one in results:
        unit, amount = one["budget"]
        scores = [
            text_table.percent(one[name]) if name in one else "diverged"
            for name in ("linear", "knn")
        ]
        minutes = f"{one['minutes']:.2f}"
        budget = f"{amount:,g} {unit}" if unit == "minutes" else f"{amount:,} {unit}"
        lines.append((one["recipe"], budget, f"{one['views']:,}", minutes, *scores))
    return lines


if __name__ == "__main__":
    main()
