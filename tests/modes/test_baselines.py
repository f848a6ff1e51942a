"""The raw input's results are kept for each dataset, and shared by runs."""

import contextlib
import dataclasses

import numpy as np
import pytest

from vicreg_keras.data.split import Split
from vicreg_keras.modes.context import Context
from vicreg_keras.workdir.run_folder import RunFolder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VICREG_KERAS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "baselines"


@pytest.fixture
def evaluate(run_mode, context, tmp_path, capsys):
    """Evaluates as another run would; returns the results and what was printed."""

    def evaluate(mode="linear_eval", dataset=context.dataset, **options):
        other = Context(context.encoder, dataset, RunFolder(tmp_path / "other"))
        record = run_mode(mode, other, **options)
        return record.results, capsys.readouterr().out

    return evaluate


class NoFeatures(dict):
    """Stands for features that are not needed."""

    key: str


@pytest.mark.parametrize("mode", ["linear_eval", "knn_eval", "retrieve"])
def test_another_run_takes_what_was_kept(evaluate, cache, context, mode, monkeypatch):
    first, out = evaluate(mode)
    assert "kept by an earlier run" not in out
    (path,) = cache.iterdir()
    none = NoFeatures()
    none.key = context.input_features.key
    monkeypatch.setattr(Context, "input_features", none)
    again, out = evaluate(mode)
    assert again["raw_input"] == first["raw_input"]
    assert f"kept by an earlier run: {path}" in out


def test_another_dataset_or_setting_is_evaluated_anew(evaluate, context, cache):
    evaluate("knn_eval")
    train = context.dataset.train
    labels, pixels = train.labels.copy(), train.read()
    labels[3] = (labels[3] + 1) % 10
    pixels[5, 2, 2, 1] ^= 1
    for changed in (
        Split(train.read(), labels, train.names),
        Split(pixels, train.labels, train.names),
    ):
        dataset = dataclasses.replace(context.dataset, train=changed)
        _, out = evaluate("knn_eval", dataset)
        assert "kept" not in out
    assert len([*cache.iterdir()]) == 3
    evaluate(few_labels=2)
    _, out = evaluate(few_labels=3)
    assert "kept" not in out


@pytest.mark.parametrize("text", ["", "{}", "[1]", '"x"'])
def test_a_damaged_file_is_made_again(evaluate, cache, text):
    first, _ = evaluate("knn_eval")
    (path,) = cache.iterdir()
    whole = path.read_text()
    path.write_text(text or whole.replace('"top1": ', '"top1": 1'))
    with contextlib.nullcontext() if text == "{}" else pytest.warns(match=str(path)):
        again, out = evaluate("knn_eval")
    assert again["raw_input"] == first["raw_input"] and "kept" not in out
    assert path.read_text() == whole


def test_a_folder_that_cannot_be_written(evaluate, cache):
    cache.parent.mkdir(exist_ok=True)
    cache.write_text("not a folder")
    results, _ = evaluate("knn_eval")
    assert results["raw_input"].metrics.top1 > 0.5


def test_long_steps_are_said(evaluate, monkeypatch):
    _, out = evaluate()
    assert "numbers" not in out
    monkeypatch.setattr("vicreg_keras.modes.linear_eval._LONG_STEP", 1)
    _, out = evaluate(few_labels=2)
    lines = [line for line in out.splitlines() if "numbers" in line]
    assert len(lines) == 4 and np.all([line.endswith(" s") for line in lines])
    assert lines[3].startswith("raw input, few labels: 300 x 192 numbers, 10 classes")
