"""No process is forked: TensorFlow and gRPC have threads, which a fork loses."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = ("vicreg_keras", "tests", "benchmarks", "examples", "notebooks")
FILES = sorted(
    path
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*.py")
    if path != pathlib.Path(__file__).resolve()
)
# Text rather than syntax, so that programs in strings are seen, too.
FORKS = re.compile(
    r"preexec_fn|\bos\.fork|\bpty\.(fork|spawn)|^\s*(import|from) multiprocessing\b",
    re.MULTILINE,
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_helpers_are_started_without_fork(path):
    found = FORKS.search(path.read_text(encoding="utf-8"))
    assert not found, f"{found[0]}: use subprocess with start_new_session instead"
