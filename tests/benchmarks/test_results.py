"""Tests of benchmarks/results.py, and that its entries are the README's."""

import json
import re

import pytest

from benchmarks import results
from benchmarks.contender import ROOT


def test_entries_are_the_readmes_numbers():
    readme = (ROOT / "README.md").read_text("utf-8")
    listed = set()
    for entry in json.loads(results.ENTRIES.read_text("utf-8")):
        assert (ROOT / "flags" / f"{entry['recipe']}.flags").is_file()
        assert {place.split(".")[0] for place in entry["numbers"].values()} == {
            *entry["modes"]
        }
        for text in entry["numbers"]:
            assert text in readme, text
            listed.add(text)
    # What has two decimals there is an accuracy in percent.
    for text in re.findall(r"(?<![\d.])\d\d\.\d\d(?: ± \d\.\d\d)?(?!\d)", readme):
        assert text in listed, text


def test_numbers_are_found_by_their_place():
    records = {"knn_eval": {"results": {"encoder": {"metrics": {"top1": 0.5}}}}}
    assert results.value_at(records, "knn_eval.encoder.metrics.top1") == 0.5
    with pytest.raises(KeyError):
        results.value_at(records, "knn_eval.untrained.metrics.top1")


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("71.15 ± 0.18", [71.0, 71.2, 71.3], True),
        ("71.15 ± 0.18", [70.0, 70.1, 70.2], False),
        ("83.44", [82.6], True),
        ("83.44", [82.0], False),
    ],
)
def test_agreement_is_by_the_spread(text, values, expected):
    assert results.agrees(text, values) is expected
    assert results.describe([70.0, 71.0]) == "70.50 ± 0.71"
