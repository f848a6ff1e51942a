"""Records: the same after JSON, and read by type."""

import dataclasses
import json

import pytest

from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.finetune import FinetuneRecord
from vicreg_keras.evaluate.linear_eval import LinearEvalRecord
from vicreg_keras.evaluate.records import (
    AblateRecord,
    ExportRecord,
    PretrainRecord,
    RecipeMetrics,
    SearchRecord,
    from_json,
    read_records,
    to_json,
)
from vicreg_keras.workdir.run_folder import RunFolder


def through_json(record):
    return from_json(type(record), json.loads(json.dumps(to_json(record))))


def epoch(number, **metrics):
    return PretrainRecord(
        dataset="digits", seed=0, epoch=number, step=4, minutes=0.5, metrics=metrics
    )


def test_nested_records_survive_json():
    metrics = RecipeMetrics(
        seed=0,
        linear_top1=0.5,
        knn_top1=1.0,
        effective_rank=2.5,
        rankme=3.0,
        state="healthy",
    )
    record = AblateRecord(
        dataset="digits",
        seed=0,
        split="test",
        seeds=(0, 1),
        epochs=2,
        variants={"no variance": {"variance_weight": 0.0}},
        results={"no variance": (metrics, metrics)},
    )
    assert through_json(record) == record
    assert to_json(record)["mode"] == "ablate"


def test_integer_keys_and_optional_values_survive_json():
    @dataclasses.dataclass(frozen=True)
    class Curve:
        precision: dict[int, float]
        alpha: float | None = None

    assert through_json(Curve({1: 0.5, 10: 0.25})) == Curve({1: 0.5, 10: 0.25})
    assert through_json(Curve({}, 2.0)).alpha == 2.0


def test_unknown_keys_are_ignored():
    values = to_json(epoch(1, loss=2.0)) | {"later": 3}
    assert from_json(PretrainRecord, values) == epoch(1, loss=2.0)


def test_a_missing_value_is_an_input_error():
    with pytest.raises(InputError, match=r"Expected a PretrainRecord\. Received: "):
        from_json(PretrainRecord, {"epoch": 1})


def test_records_are_read_by_type(tmp_path):
    run = RunFolder(tmp_path)
    for record in (epoch(1, loss=2.0), epoch(2, loss=1.5)):
        run.append_metrics(to_json(record))
    run.append_metrics({"mode": "spectrum"})
    assert [one.epoch for one in read_records(run, PretrainRecord)] == [1, 2]
    assert read_records(run, ExportRecord) == []


def test_each_type_has_a_mode_of_its_own():
    types = (PretrainRecord, ExportRecord, AblateRecord, SearchRecord)
    types += (LinearEvalRecord, FinetuneRecord)
    assert len({one.mode for one in types}) == len(types)
