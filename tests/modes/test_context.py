"""The context: everything once, and only when it is asked for."""

import os

import numpy as np
import pytest

from vicreg_keras.data.dataset import load_dataset
from vicreg_keras.errors import InputError
from vicreg_keras.export.savedmodel import export_savedmodel
from vicreg_keras.models.encoders import make_encoder
from vicreg_keras.models.table_encoder import make_table_encoder
from vicreg_keras.modes.context import Context
from vicreg_keras.modes.open_context import open_context
from vicreg_keras.modes.options import EncoderOptions
from vicreg_keras.settings import DataOptions, Settings


def refuse(trained):
    raise AssertionError("The untrained encoder is not needed.")


@pytest.fixture
def without_baseline(context):
    return Context(context.encoder, context.dataset, context.run, make_encoder=refuse)


@pytest.mark.parametrize("mode", ["embed", "export"])
def test_no_untrained_encoder_is_built(run_mode, without_baseline, mode):
    run_mode(mode, without_baseline, head="linear")


def test_baselines_build_the_untrained_encoder_once(context, encoders):
    calls = []

    def make_encoder(trained):
        calls.append(trained)
        return encoders[1]

    context = Context(context.encoder, context.dataset, make_encoder=make_encoder)
    for _ in range(2):
        names = [name for name, _ in context.each(("test",))]
    assert names == ["encoder", "untrained", "raw_input"]
    assert calls == [False]


def test_raw_input_is_read_once(context):
    assert context.input_features["test"] is context.input_features["test"]


def test_context_without_run_or_encoder_is_refused():
    with pytest.raises(InputError, match="workdir=RUN or saved_model=PATH"):
        open_context(Settings(), DataOptions(), None)


def test_missing_labels_and_test_split_are_refused(unlabeled):
    with pytest.raises(InputError, match="labeled dataset.*photos"):
        _ = unlabeled.num_classes
    with pytest.raises(InputError, match="test split.*photos"):
        _ = unlabeled.test


def test_output_without_a_run_needs_a_path(context, tmp_path):
    alone = Context(context.encoder, context.dataset)
    assert alone.output(str(tmp_path / "a.npz"), "b.npz") == tmp_path / "a.npz"
    with pytest.raises(InputError, match="Expected output=PATH"):
        alone.output(None, "b.npz")


def test_the_columns_of_a_keras_file_are_matched_by_name(tmp_path):
    lines = [f"{i % 7 / 2},{'red' if i % 3 else 'blue'}" for i in range(40)]
    (tmp_path / "a.csv").write_text("\n".join(["age,color", *lines]))
    swapped = [",".join(line.split(",")[::-1]) for line in ["age,color", *lines]]
    (tmp_path / "b.csv").write_text("\n".join([*swapped, "amber,1"]))
    dataset = load_dataset(f"csv:{tmp_path}/a.csv")
    encoder = make_table_encoder(dataset.columns, dataset.table_statistics, (8, 4))
    encoder.save(tmp_path / "encoder.keras")
    data = DataOptions(dataset=f"csv:{tmp_path}/b.csv")
    context = open_context(
        Settings(), data, None, EncoderOptions(saved_model=f"{tmp_path}/encoder.keras")
    )
    assert context.dataset.columns == dataset.columns
    examples = {
        name: example
        for split in context.dataset.splits.values()
        for name, example in zip(split.names, split.read(), strict=True)
    }
    for name, example in zip(dataset.train.names, dataset.train.read(), strict=True):
        np.testing.assert_array_equal(examples[name], example)
    np.testing.assert_array_equal(examples["row/40"], [1, np.nan])


@pytest.mark.parametrize("mode", ["knn_eval", "retrieve", "cluster", "spectrum"])
def test_a_run_that_cannot_be_written_is_evaluated(
    mode, run_mode, context, monkeypatch, capsys
):
    context.run.create()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert run_mode(mode, context) is not None
    assert "VICReg encoder" in capsys.readouterr().out
    assert not [*context.run.path.iterdir()]


def test_what_cannot_be_read_out_in_another_way_is_refused(tmp_path):
    keras_file = f"{tmp_path}/encoder.keras"
    make_encoder("tiny").save(keras_file)
    which = EncoderOptions(saved_model=keras_file, average="flip")
    with pytest.raises(InputError, match="an encoder of images from mode=pretrain"):
        open_context(Settings(), DataOptions(), None, which)
    version = export_savedmodel(make_encoder("tiny"), tmp_path, (8, 8, 3))
    which = EncoderOptions(saved_model=f"{version}", representation="stages")
    with pytest.raises(InputError, match="Expected workdir=RUN to read"):
        open_context(Settings(), DataOptions(), None, which)
    which = EncoderOptions(saved_model=f"{version}", average="flip")
    context = open_context(Settings(), DataOptions(), None, which)
    assert context.features["test"].representations.shape == (359, 32)
    assert context.feature_caches.keys() == {"encoder", "plain", "patches", "raw_input"}
