"""The modes: a table, a picture, a line in the run, and the encoder left alone."""

import csv
import json

import numpy as np
import pytest

from vicreg_keras.evaluate.linear_probe import cached_probe
from vicreg_keras.modes.registry import MODES

ROWS = ("VICReg encoder", "untrained encoder", "raw input")


def last_row(context, mode):
    row = context.run.read_metrics(mode)[-1]
    assert (row["mode"], row["dataset"], row["seed"]) == (mode, "digits", 0)
    return row


def test_linear_eval_uses_what_is_known(context, capsys):
    row = MODES["linear_eval"](context, few_labels=2, few_label_seeds=2)
    text = capsys.readouterr().out
    assert all(name in text for name in ROWS)
    kept = last_row(context, "linear_eval")
    assert kept == json.loads(json.dumps(row))
    splits = [context.features[name] for name in ("train", "validation", "test")]
    alone = cached_probe(*splits, num_classes=10)
    assert kept["results"]["encoder"]["cached"]["top1"] == alone["top1"]
    assert context.linear_top1() == alone["top1"]


@pytest.mark.parametrize("suffix", ["npz", "csv"])
def test_embed_writes_every_split(context, suffix, tmp_path):
    path = tmp_path / f"rows.{suffix}"
    MODES["embed"](context, output=str(path), head="linear")
    expected = np.concatenate(
        [context.features[name].representations for name in context.features]
    )
    if suffix == "npz":
        with np.load(path, allow_pickle=False) as kept:
            columns = {name: kept[name] for name in kept.files}
        rows = columns.pop("representation")
    else:
        with open(path, newline="") as file:
            header, *lines = list(csv.reader(file))
        width = expected.shape[1]
        table = np.array(lines)
        columns = dict(zip(header[:-width], table[:, :-width].T, strict=True))
        rows = table[:, -width:].astype(np.float32)
        assert header[-width:] == [f"representation_{i}" for i in range(width)]
    np.testing.assert_array_equal(rows, expected)
    assert list(columns) == ["name", "split", "label", "class", "probability"]
    assert columns["name"][0] == context.dataset.train.names[0]
    assert list(columns["split"][[0, 300, 360]]) == ["train", "validation", "test"]
    tested = columns["split"] == "test"
    right = columns["label"][tested] == columns["class"][tested]
    assert right.mean() == pytest.approx(context.linear_top1())
    probabilities = columns["probability"].astype(float)
    assert 0.1 < probabilities.min() and probabilities.max() <= 1


def test_embed_of_own_images(context, photos):
    MODES["embed"](context, input=str(photos))
    path = context.run.path / "representations.npz"
    with np.load(path, allow_pickle=False) as kept:
        assert sorted(kept.files) == ["name", "representation", "split"]
        assert list(kept["name"]) == [str(photos / f"{i}.png") for i in range(5)]
        np.testing.assert_allclose(
            kept["representation"],
            context.features["train"].representations[:5],
            atol=1e-4,
        )


def test_embed_refuses_what_it_cannot_write(context, unlabeled):
    with pytest.raises(ValueError, match=r"suffix of \.npz, \.csv.*x\.txt"):
        MODES["embed"](context, output="x.txt")
    with pytest.raises(ValueError, match="labeled dataset for --head=linear"):
        MODES["embed"](unlabeled, head="linear")
