"""What `verify` finds: files, records and a report compared with others."""

import html
import math
import pathlib
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from vicreg_keras.errors import DamagedError
from vicreg_keras.evaluate.records import PretrainRecord
from vicreg_keras.report.page import build_report
from vicreg_keras.report.run_files import read_figure
from vicreg_keras.training.checkpoints import newest_checkpoint
from vicreg_keras.workdir.files import read_json, read_npz
from vicreg_keras.workdir.run_folder import RunFolder
from vicreg_keras.workdir.versions import SUMS_FILE, check_version

# Relative; another machine rounds otherwise.
TOLERANCE = 1e-4
# Times are others on every run.
_TIMES = frozenset(
    {
        *("milliseconds", "minutes", "images_per_second", "build_seconds"),
        *("queries_per_second", "exact_queries_per_second"),
    }
)
_MAX_SHOWN = 3


class Finding(NamedTuple):
    """What was compared.

    Attributes:
        name: What it is of.
        state: `"same"`, `"differs"` or `"cannot"`.
        detail: Which numbers differ and by how much, or what is missing.
        num_values: Number of values compared.
    """

    name: str
    state: str
    detail: str = ""
    num_values: int = 0


def check_files(folder: RunFolder) -> Finding:
    """Reads all files of a run that have a checksum.

    Args:
        folder: Folder of the run.
    """
    faults = []
    versions = [path.parent for path in folder.path.rglob(SUMS_FILE)]
    readers: dict[pathlib.Path, Callable[[pathlib.Path], object]] = {
        **dict.fromkeys(versions, check_version),
        **dict.fromkeys(folder.path.glob("features/**/*.npz"), read_npz),
        **dict.fromkeys(folder.path.glob("*.npz"), read_npz),
        **dict.fromkeys(folder.path.glob("*.json"), read_json),
        **dict.fromkeys(
            folder.figures.glob("*.png"), lambda path: read_figure(folder, path.stem)
        ),
        folder.checkpoints: lambda _: newest_checkpoint(folder),
        folder.metrics: lambda _: folder.read_metrics(),
        folder.flags: lambda _: folder.recipe,
    }
    for path, read in readers.items():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                read(path)
            except DamagedError as error:
                faults.append(error.fault)
            faults += [str(warning.message) for warning in caught]
    written = (folder.data_card, folder.examples, folder.environment)
    missing = [f"{path.name} is missing" for path in written if not path.exists()]
    state = "differs" if faults else "cannot" if missing else "same"
    detail = "; ".join([*faults, *missing])
    return Finding("files and their checksums", state, detail, len(readers))


def check_report(folder: RunFolder) -> Finding:
    """Compares a run's report, but for its figures, with the records it was made of.

    Args:
        folder: Folder of the run.
    """
    name, path = "report.html", folder.path / "report.html"
    if not path.exists():
        return Finding(name, "cannot", "there is none: mode=evaluate")
    page, records = path.read_text("utf-8", "replace"), folder.read_metrics()
    made_of = re.search(r'<meta name="records" content="(\d+)">', page)
    num_records = int(made_of[1]) if made_of else len(records)
    # The name that the run had.
    title = re.search(r"<title>VICReg: ([^/]+?)</title>", page)
    run_name = html.unescape(title[1]) if title else folder.path.resolve().name
    with tempfile.TemporaryDirectory() as aside:
        earlier = RunFolder(pathlib.Path(aside) / run_name)
        earlier.create()
        for file in folder.path.resolve().iterdir():
            if file != folder.metrics.resolve():
                (earlier.path / file.name).symlink_to(file)
        for record in records[:num_records]:
            earlier.append_metrics(record)
        again = pathlib.Path(aside) / "report.html"
        build_report([earlier], again)
        found, expected = (
            _without_figures(one) for one in (page, again.read_text("utf-8"))
        )
    tables, others = (
        re.findall(r"<table.*?</table>", one, re.S) for one in (found, expected)
    )
    if found == expected:
        return Finding(name, "same", "", len(tables))
    advice = "write it anew, mode=evaluate"
    if any(one["mode"] == PretrainRecord.mode for one in records[num_records:]):
        return Finding(name, "cannot", f"it is of before the last epochs: {advice}")
    differing = sum(one not in others for one in tables)
    detail = f"{differing} of {len(tables)} tables" if differing else "its text"
    return Finding(name, "differs", f"{detail} not as of the records: {advice}")


def _without_figures(page: str) -> str:
    """The body of a page, without its figures and commands that name the folder."""
    body = page.partition("<main>")[2]
    odd = r'<figure.*?</figure>|<p class="missing">.*?</p>'
    return re.sub(r"\s+", " ", re.sub(odd, "", body, flags=re.S))


def compare(
    name: str, recorded: Mapping[str, Any], computed: Mapping[str, Any]
) -> Finding:
    """Compares all values of two records.

    Args:
        name: What they are of.
        recorded: The record.
        computed: What it is compared with.
    """
    before, now = dict(_flatten(recorded)), dict(_flatten(computed))
    different = []
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if not _equal(old, new):
            different.append(f"{key} is {_text(old)} there and {_text(new)} now")
    if not different:
        return Finding(name, "same", "", len(before))
    detail = "; ".join(different[:_MAX_SHOWN])
    if len(different) > _MAX_SHOWN:
        detail += f"; and {len(different) - _MAX_SHOWN} more"
    return Finding(name, "differs", detail, len(before))


def _flatten(values: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yields all numbers and texts by their place."""
    if isinstance(values, Mapping):
        items = [(str(k), v) for k, v in values.items() if k not in _TIMES]
    elif isinstance(values, list | tuple):
        items = [(str(i), v) for i, v in enumerate(values)]
    else:
        yield key, values
        return
    for name, value in items:
        yield from _flatten(value, f"{key}.{name}" if key else name)


def _equal(old: Any, new: Any) -> bool:
    numbers = [isinstance(one, int | float) for one in (old, new)]
    if all(numbers):
        return math.isclose(old, new, rel_tol=TOLERANCE, abs_tol=1e-7) or (
            math.isnan(old) and math.isnan(new)
        )
    return old == new


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else f"{value}"
