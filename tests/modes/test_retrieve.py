"""Tests of the mode `retrieve`."""

import csv
import dataclasses

import pytest

from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.records import read_records
from vicreg_keras.evaluate.retrieval import RetrieveRecord
from vicreg_keras.modes import retrieve
from vicreg_keras.modes.context import Context
from vicreg_keras.modes.options import RetrieveOptions
from vicreg_keras.modes.retrieve import open_index


def test_index_and_figure_are_kept(context, capsys):
    record = retrieve.run(context, RetrieveOptions())
    assert "mean average precision" in capsys.readouterr().out
    assert (record.num_database, record.num_classes) == (360, 10)
    assert record.num_queries == context.dataset.test.num_examples
    assert (record.index, record.index_metrics) == ("Flat", None)
    assert read_records(context.run, RetrieveRecord) == [record]
    assert (context.run.figures / "retrieval.png").stat().st_size > 5000
    index = open_index(context)
    assert index.build_seconds == open_index(context).build_seconds  # Read, not built.
    assert index.names[:1] == [context.dataset.train.names[0]]
    assert index.names[-1] == context.dataset.validation.names[-1]


def test_approximate_index_is_compared_with_exact_search(context, capsys):
    options = RetrieveOptions(index="IVF4,Flat", search_parameters="nprobe=4")
    record = retrieve.run(context, options)
    header, line = capsys.readouterr().out.splitlines()[-4:-2]
    assert header.split()[0] == "recall@5"
    assert line.split()[:3] == ["IVF4,Flat", "(nprobe=4)", "1.0000"]
    assert record.index_metrics.recall == 1.0
    assert (record.index, record.search_parameters) == ("IVF4,Flat", "nprobe=4")
    assert read_records(context.run, RetrieveRecord) == [record]
    assert open_index(context, "IVF4,Flat").factory_string == "IVF4,Flat"
    assert open_index(context).factory_string == "Flat"


def test_index_of_another_encoder_is_not_used(context, encoders):
    first = open_index(context)
    other = Context(encoders[1], context.dataset, context.run)
    assert open_index(other).key != first.key


def test_index_of_other_examples_is_not_used(context):
    first = open_index(context)
    dataset = dataclasses.replace(
        context.dataset, train=context.dataset.train.take(range(299, -1, -1))
    )
    other = open_index(Context(context.encoder, dataset, context.run))
    assert other.names[:300] == first.names[299::-1]


@pytest.mark.parametrize("pattern", ["", "/*.png", "/3.png"])
def test_query_finds_the_image_itself(context, photos, pattern, capsys):
    options = RetrieveOptions(query=f"{photos}{pattern}", num_neighbors=3)
    assert retrieve.run(context, options) is None
    with open(context.run.path / "neighbors.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    num_images = 1 if pattern == "/3.png" else 5
    assert len(lines) == 3 * num_images
    assert f"nearest 3 of {num_images} queries" in capsys.readouterr().out
    for line in lines[::3]:
        number = int(line["query"][-5])
        assert line["neighbor"] == context.dataset.train.names[number]
        label = context.dataset.train.labels[number]
        assert line["class"] == context.dataset.class_names[label]
        assert float(line["distance"]) < 0.01
    assert (context.run.path / "neighbors.png").stat().st_size > 5000


def test_query_needs_neither_labels_nor_a_run(unlabeled, photos, tmp_path):
    context = Context(unlabeled.encoder, unlabeled.dataset)
    with pytest.raises(ValueError, match="output=PATH"):
        retrieve.run(context, RetrieveOptions(query=str(photos)))
    output = tmp_path / "new" / "found.csv"
    retrieve.run(context, RetrieveOptions(query=str(photos), output=str(output)))
    with open(output, newline="") as file:
        assert {line["class"] for line in csv.DictReader(file)} == {""}
    assert output.with_suffix(".png").exists()
    with pytest.raises(ValueError, match="Expected a labeled dataset.*query=PATH"):
        retrieve.run(context, RetrieveOptions())
    missing = RetrieveOptions(query=str(tmp_path / "nothing"), output="x.csv")
    with pytest.raises(InputError, match="Received: .*nothing.*none"):
        retrieve.run(context, missing)
