"""`embed`: representations, names and classes in a file."""

import csv
import dataclasses

import numpy as np
import pytest


@pytest.mark.parametrize("suffix", ["npz", "csv"])
def test_embed_writes_every_split(run_mode, context, linear_top1, suffix, tmp_path):
    path = tmp_path / f"representations.{suffix}"
    run_mode("embed", context, output=str(path), head="linear")
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
    assert right.mean() == pytest.approx(linear_top1)
    probabilities = columns["probability"].astype(float)
    assert 0.1 < probabilities.min() and probabilities.max() <= 1


def test_texts_of_the_csv_are_no_formulas(run_mode, context, tmp_path):
    names = ("=A1", "-1", *context.dataset.class_names[2:])
    context.dataset = dataclasses.replace(context.dataset, class_names=names)
    path = tmp_path / "representations.csv"
    run_mode("embed", context, output=str(path))
    with open(path, newline="") as file:
        labels = {line["label"] for line in csv.DictReader(file)}
    assert labels == {"'=A1", "-1", *names[2:]}


def test_embed_of_user_provided_images(run_mode, context, photos):
    run_mode("embed", context, input=str(photos))
    path = context.run.path / "representations.npz"
    with np.load(path, allow_pickle=False) as kept:
        assert sorted(kept.files) == ["name", "representation", "split"]
        assert list(kept["name"]) == [str(photos / f"{i}.png") for i in range(5)]
        np.testing.assert_allclose(
            kept["representation"],
            context.features["train"].representations[:5],
            atol=1e-4,
        )


def test_embed_refuses_what_it_cannot_write(run_mode, context, unlabeled):
    with pytest.raises(ValueError, match=r"end in \.npz or \.csv.*x\.txt"):
        run_mode("embed", context, output="x.txt")
    with pytest.raises(ValueError, match="Expected a labeled dataset"):
        run_mode("embed", unlabeled, head="linear")
