"""Tests of benchmarks/gpu: a packed run, without JAX."""

import json
import re
import shutil
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.compiler.tf2xla.python import xla as tf2xla

from benchmarks.gpu import pack, packed_files, unpack
from vicreg_keras.errors import InputError, NonFiniteError
from vicreg_keras.evaluate.records import PretrainRecord, read_records
from vicreg_keras.models.saved_encoder import load_encoder
from vicreg_keras.training.checkpoints import newest_checkpoint
from vicreg_keras.workdir.run_folder import RunFolder
from vicreg_keras.workdir.versions import newest_version

_NUM_STEPS = 3
_ARGV = [
    *("pack", "--dataset=digits", "--encoder=tiny", "--projector=16-8"),
    *("--batch_size=16", "--epochs=2", "--precision=float32", "--optimizer=lars"),
    *("--momentum=0.5", "--warmup_epochs=0.1", "--blur_probability=0.5"),
]


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpu")
    argv = [*_ARGV, f"--workdir={folder / 'run'}"]
    with pack.plain_convolutions(), pack.open_run(argv) as run:
        pack.pack(run, folder / "packed")
    return SimpleNamespace(folder=folder, run=run)


def batches(run):
    split, size = run.dataset.pretraining, run.settings.batch_size
    order = np.random.RandomState([run.settings.seed, 0]).permutation(
        split.num_examples
    )
    return [split.read(order[i * size : (i + 1) * size]) for i in range(_NUM_STEPS)]


def run_module(packed, inputs):
    """Runs the packed step as a pure function; returns logs and values.

    JAX compiles it elsewhere; here TensorFlow does, which wants StableHLO alone.
    """
    folder = packed.folder / "packed"
    manifest = json.loads((folder / "manifest.json").read_text())
    arrays = packed_files.read_parts(folder, manifest["files"])
    del arrays["images"]
    values = [arrays[key] for key in sorted(arrays)]
    updated = [values[i] for i in manifest["updated"]]
    shapes = [()] * len(manifest["logs"]) + [value.shape for value in updated]
    dtypes = [np.float32] * len(manifest["logs"]) + [value.dtype for value in updated]
    run = packed.run
    spec = tf.TensorSpec((16, *run.dataset.example_shape), tf.uint8)
    step = pack.TracedStep(run.model, spec).function
    code = step.experimental_get_compiler_ir(inputs[0])(stage="stablehlo")
    code = re.sub(
        r"mhlo\.copy (%\d+) : (\S+)", r"stablehlo.reshape \1 : (\2) -> \2", code
    )
    module = re.sub(r"^(module @\S+) attributes \{.*\} \{$", r"\1 {", code, flags=re.M)
    module = re.sub(r" \{mhlo.frontend_attributes = \{[^}]*\}\}", "", module)

    @tf.function(jit_compile=True, autograph=False)
    def step(images, *values):
        return tf2xla.call_module(
            [images, *values],
            version=9,
            module=module.encode(),
            Sout=shapes,
            Tout=dtypes,
            platforms=["CPU"],
        )

    for images in inputs:
        results = [result.numpy() for result in step(images, *values)]
        logs = dict(zip(manifest["logs"], results, strict=False))
        for i, value in zip(manifest["updated"], results[len(logs) :], strict=True):
            values[i] = value
    return logs, values


def test_packed_step_is_the_runs_own(packed):
    logs, values = run_module(packed, batches(packed.run))
    manifest = json.loads((packed.folder / "packed" / "manifest.json").read_text())
    run = packed.run
    spec = tf.TensorSpec((16, *run.dataset.example_shape), tf.uint8)
    step = pack.TracedStep(run.model, spec)
    before = step.values()
    for images in batches(run):
        expected = run.model.train_step(tf.constant(images))
    assert int(run.model.step.numpy()) == _NUM_STEPS
    for name, value in logs.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, err_msg=name)
    for i in manifest["updated"]:
        np.testing.assert_allclose(
            values[i], step.values()[i], rtol=1e-3, atol=1e-5, err_msg=str(i)
        )
    changed = [
        not np.array_equal(*pair) for pair in zip(before, step.values(), strict=True)
    ]
    others = set(range(len(before))) - set(manifest["updated"])
    assert sum(changed) > 0.9 * len(manifest["updated"])
    assert not any(changed[i] for i in others)


def test_packed_step_never_waits_for_the_host(packed):
    run = packed.run
    spec = tf.TensorSpec((16, *run.dataset.example_shape), tf.uint8)
    step = pack.TracedStep(run.model, spec).function
    code = step.experimental_get_compiler_ir(tf.zeros(spec.shape, spec.dtype))
    names = set(re.findall(r"\bstablehlo\.(\w+)", code(stage="stablehlo")))
    assert {"convolution", "while"} <= names
    # What runs on the host, sends to it, or reads a branch's condition there.
    host = {"if", "case", "custom_call", "infeed", "outfeed", "send", "recv"}
    assert not names & host
    # A loop of a known number of turns needs no reading either.
    loops = re.findall(r"= .* while\(.*", code(stage="optimized_hlo"))
    assert loops and all('"known_trip_count"' in loop for loop in loops)


@pytest.fixture
def trained(packed, tmp_path):
    """The packed run elsewhere, and the state after a step more than its epoch."""
    shutil.copytree(packed.folder / "run", tmp_path / "run")
    manifest = json.loads((packed.folder / "packed" / "manifest.json").read_text())
    arrays = packed_files.read_parts(packed.folder / "packed", manifest["files"])
    del arrays["images"]
    values = [arrays[key] for key in sorted(arrays)]
    first = manifest["kinds"].index("encoder")
    values[first] = values[first] + np.float32(0.5)
    values[manifest["step"]] = np.int64(81)  # An epoch has 80.
    lines = [
        {"epoch": 1, "step": 7, "seconds": 3.0, "loss": 9.5},
        {"epoch": 1, "step": 80, "seconds": 30.0, "loss": 2.5},
        {"epoch": 2, "step": 81, "seconds": 31.0, "loss": 2.25},
    ]

    def write(parts=None, **changes):
        options = SimpleNamespace(output=tmp_path / "out", parts=parts)
        packed_files.write_state(options, manifest | changes, values, 81, 31.0)
        (tmp_path / "out" / "metrics.jsonl").write_text(
            "".join(f"{json.dumps(line)}\n" for line in lines)
        )
        return tmp_path / "out"

    return SimpleNamespace(
        run=tmp_path / "run", write=write, values=values, first=first
    )


def unpack_it(folder, state):
    argv = ["unpack", f"--flagfile={folder / 'flags.flags'}", f"--workdir={folder}"]
    with pack.plain_convolutions(), pack.open_run(argv) as run:
        unpack.unpack(run, state)
    return run


def test_what_was_trained_is_the_runs(trained, capsys):
    run = unpack_it(trained.run, trained.write())
    (record,) = read_records(RunFolder(trained.run), PretrainRecord)
    assert (record.epoch, record.step, record.minutes) == (1, 80, 0.5)
    assert record.metrics["loss"] == 2.5 and record.metrics["val_loss"] > 0
    images = run.dataset.test.read(np.arange(4))
    kept = run.model.encoder(tf.constant(images)).numpy()
    np.testing.assert_allclose(
        load_encoder(trained.run)(images), kept, rtol=1e-4, atol=1e-5
    )
    assert int(run.model.step.numpy()) == 81
    assert newest_checkpoint(RunFolder(trained.run)).step == 81
    assert "--mode=evaluate" in capsys.readouterr().out
    with pytest.raises(InputError, match="after step 81.*Received: step 81"):
        unpack_it(trained.run, trained.write())


def test_what_is_without_optimizer_has_no_checkpoint(trained, capsys):
    kinds = ["counters"] * len(trained.values)
    kinds[trained.first] = "encoder"
    with mock.patch.object(packed_files, "_PART_BYTES", 4096):
        state = trained.write(parts=1, kinds=kinds, max_parts=1)
    assert "Left out" in capsys.readouterr().out
    unpack_it(trained.run, state)
    assert "can't be continued" in capsys.readouterr().out
    assert newest_checkpoint(RunFolder(trained.run)) is None
    assert newest_version(RunFolder(trained.run).encoder).name == "1"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda out: (out / "state-81-00.npz").unlink(), "state-81-00.npz as it was"),
        (lambda out: (out / "state-81-00.npz").write_bytes(b"PK"), "checksum"),
        (lambda out: (out / "metrics.jsonl").write_text('{"epoch"'), "metrics.jsonl"),
        (lambda out: (out / "state.json").write_text("{"), "state.json as it was"),
        (lambda out: (out / "state.json").unlink(), "Expected state.json"),
    ],
)
def test_damaged_state_is_refused(damage, message, trained, packed):
    out = trained.write()
    damage(out)
    with pytest.raises((SystemExit, InputError), match=message):
        unpack.read(packed.run, out)  # Before anything is written.


def test_state_of_another_packing_or_not_finite_is_refused(trained, packed):
    with pytest.raises(SystemExit, match="of another recipe"):
        unpack.read(packed.run, trained.write(id="another"))
    trained.values[trained.first][:] = np.nan
    with pytest.raises(NonFiniteError):
        unpack_it(trained.run, trained.write())
    assert newest_checkpoint(RunFolder(trained.run)) is None


@pytest.mark.parametrize("max_bytes", [7, 64, 10_000])
def test_parts_have_all_of_every_array(tmp_path, max_bytes):
    arrays = {
        "a": np.arange(30, dtype=np.int64).reshape(5, 6),
        "b": np.float32(3.5),
        "c": np.zeros((0, 2), np.uint8),
        "d": np.random.default_rng(0).normal(size=(3, 3, 2)).astype(np.float32),
    }
    parts = packed_files.split(arrays, max_bytes)
    assert all(sum(map(len, part.values())) <= max_bytes for part in parts)
    files = packed_files.write_parts(tmp_path, "state", parts)
    found = packed_files.read_parts(tmp_path, files)
    assert found.keys() == arrays.keys()
    for key, array in arrays.items():
        assert found[key].dtype == np.asarray(array).dtype
        np.testing.assert_array_equal(found[key], array)


def test_records_after_the_state_are_removed_before_training_goes_on(trained):
    out = trained.write()
    packed_files.Log(SimpleNamespace(output=out, parts=None), 80)
    assert [record["step"] for record in packed_files.read_records(out)] == [7, 80]


def test_neighbors_as_positives_are_refused(tmp_path):
    argv = [*_ARGV, "--positives=neighbors", "--neighbors_from=input"]
    with (
        pytest.raises(InputError, match="two views are of one image"),
        pack.open_run([*argv, f"--workdir={tmp_path / 'run'}"]),
    ):
        pass
