"""Flags, generated from the options: what is refused and what is answered."""

import dataclasses
import errno
import subprocess
import sys

import pytest
from absl import flags

from vicreg_keras import cli
from vicreg_keras.errors import InputError
from vicreg_keras.modes import MODES, all_options, unused
from vicreg_keras.settings import DataOptions, options, recipe
from vicreg_keras.workdir.run_folder import RunFolder


def test_choices_are_those_of_the_library():
    from vicreg_keras.export import tflite
    from vicreg_keras.hardware.precision import POLICIES
    from vicreg_keras.models import encoders, readout
    from vicreg_keras.modes.options import TFLITE_VARIANTS, EncoderOptions
    from vicreg_keras.training import optim
    from vicreg_keras.views import named_views

    def choices(of, name):
        return set(options.fields(of)[name].metadata["choices"]) - {"auto"}

    assert set(recipe.ENCODERS) == set(encoders.ENCODERS)
    assert set(recipe.IMAGE_VIEWS) == set(named_views.VIEWS)
    assert set(recipe.TABLE_VIEWS) == set(named_views.TABLE_VIEWS)
    assert choices(recipe.Settings, "optimizer") == set(optim.OPTIMIZERS)
    assert choices(recipe.Settings, "precision") == set(POLICIES)
    assert choices(EncoderOptions, "representation") == {*readout.REPRESENTATIONS}
    assert choices(EncoderOptions, "average") == {*readout.AVERAGES}
    assert set(TFLITE_VARIANTS) == set(tflite.VARIANTS)


def _every_option():
    """Every option of every mode, with the values of `only_with` that refuse it."""
    for mode, entry in MODES.items():
        for name in options.fields(entry.options):
            yield mode, name
    for name in options.fields(recipe.Settings):
        yield "pretrain", name


EXAMPLES = {bool: "true", int: "3", float: "0.3", str: "x", tuple: "1,2"}


def _example(name):
    owner = next(one for one in all_options() if name in options.fields(one))
    metadata = options.fields(owner)[name].metadata
    if metadata["choices"]:
        return f"--{name}={metadata['choices'][-1]}"
    return f"--{name}={EXAMPLES[options.kind_of(owner, name)[0]]}"


@pytest.mark.parametrize("mode", MODES)
def test_flags_of_other_modes_are_refused(mode):
    refused = 0
    for _, name in _every_option():
        if not unused(mode, [name]):
            continue
        with pytest.raises(InputError, match=f"--{name}, which is for"):
            cli.parse(["main.py", f"--mode={mode}", "--workdir=run", _example(name)])
        refused += 1
    assert refused > 10


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ("--eta=0.1", "optimizer=lars"),
        ("--optimizer=sgd --clip", "optimizer=lars"),
        ("--momentum=0.5", "optimizer=lars or optimizer=sgd"),
        ("--encoder=tiny --stem=cifar", "encoder=resnet18"),
        ("--encoder=tiny --mlp=32", "encoder=mlp"),
        ("--views=table --hue=0.1", "views=cifar"),
        ("--views=cifar --noise_std=0.1", "views=series or views=table"),
        ("--views=table --num_channels=2", "views=series"),
        ("--num_positives=3", "positives=neighbors"),
        ("--index=HNSW32", "positives=neighbors"),
    ],
)
def test_a_flag_without_effect_is_refused(arguments, part):
    with pytest.raises(InputError, match=part):
        cli.parse(["main.py", "--mode=pretrain", "--workdir=run", *arguments.split()])


def test_flags_of_a_run_are_defaults_of_later_modes(tmp_path):
    run = RunFolder(tmp_path)
    given = recipe.Settings(encoder="tiny", batch_size=64, crop_scale=(0.5, 1.0))
    names = ("Income, USD", 'say "x"', " e ", "größe", "two\nlines", "c=d", "#h", "--i")
    data = DataOptions(
        dataset="csv:t.csv",
        drop_columns=names[:1],
        numeric_columns=names,
        categorical_columns=(),
        label_column="two\nlines, with \"quotes\" and 'more' ",
    )
    texts = options.to_flags(data, given)
    run.write_flags({**texts, "mode": "pretrain", "workdir": str(tmp_path)})
    command = ["main.py", "--mode=spectrum", f"--workdir={tmp_path}"]
    request = cli.parse([*command, "--dataset=csv:other.csv"])
    assert request.mode == "spectrum"
    assert request.settings == given
    assert request.data == dataclasses.replace(data, dataset="csv:other.csv")
    # The recipe's own flag file may be given again, but no other value of the recipe.
    cli.parse([*command, f"--flagfile={run.flags}", "--mode=spectrum"])
    other = tmp_path / "other.flags"
    other.write_text("--batch_size=32\n")
    for arguments in ([f"--flagfile={other}"], ["--batch_size=64"]):
        with pytest.raises(InputError, match="--batch_size, which is for"):
            cli.parse([*command, *arguments])
    # A run repeats itself from its own file.
    again = cli.parse(["main.py", f"--flagfile={run.flags}"])
    assert (again.settings, again.data) == (given, data)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--mode=linear_eval", "--workdir=none"],
        ["--mode=pretrain", "--workdir=run", "--epochs=-1"],
        ["--mode=pretrain", "--workdir=run", "--epochs=1.5"],
        ["--mode=pretrain", "--workdir=run", "--dataset=folder:/nowhere"],
        ["--mode=cluster", "--probe_epochs=5"],
        ["--mode=cluster", "--saved_model=/nowhere"],
        ["--mode=retrieve", "--saved_model=/nowhere", "--query=/nowhere"],
        ["--mode=retrieve", "--saved_model=/nowhere", "--output=a.png"],
        ["--mode=ablate", "--workdir=run", "--weights_grid=25-25"],
        ["--mode=search", "--workdir=run", "--space=/nowhere.yaml"],
        ["--mode=report", "--runs=/nowhere"],
    ],
    ids=" ".join,
)
def test_what_needs_no_data_is_answered_without_tensorflow(arguments):
    code = (
        "import sys\nfrom vicreg_keras.cli import main\n"
        "try: main(['main.py', *sys.argv[1:]])\n"
        "except SystemExit as stopped: pass\n"
        "assert not {'tensorflow', 'keras', 'numpy'} & set(sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout or len(result.stderr.splitlines()) == 1


def test_a_value_of_another_type_is_refused_in_words(run_main):
    for flag, kind in (
        ("--epochs=1.5", "a whole number"),
        ("--momentum=fast", "a number"),
        ("--clip=maybe", "true or false"),
    ):
        code, _, err = run_main("--mode=pretrain", flag)
        assert code == 1
        assert err == f"main.py: Expected {kind}. Received: {flag}. See --help.\n"


def test_help_lists_the_flags_of_one_mode(run_main):
    code, out, _ = run_main("--help")
    assert code == 0 and all(f"  {mode} " in out for mode in MODES)
    assert all(f"--{name}\n" in out for _, name in _every_option())
    code, out, _ = run_main("--mode=cluster", "--help")
    assert "--num_clusters" in out and "--learning_rate" not in out
    code, out, _ = run_main("--mode=retrieve", "--help")
    assert out.count("  --output\n") == 1 and "Flags of --mode=retrieve" in out


def test_a_defect_keeps_its_traceback(monkeypatch):
    def fail(*arguments):
        raise ValueError("not the user's fault")

    monkeypatch.setattr(cli, "_run", fail)
    with pytest.raises(ValueError, match="not the user"):
        cli.main(["main.py", "--mode=pretrain", "--workdir=run"])


@pytest.mark.parametrize(
    ("error", "parts"),
    [
        (OSError(28, "No space", "/runs/a.npz"), ["/runs/a.npz (No space left"]),
        (OSError(28, "No space"), ["standard output (No space left"]),
        (OSError(30, "x", "/runs"), ["/runs (Read-only file system)"]),
        (
            RuntimeError("/runs/ckpt-1_temp/part-0; No space left on device [Op:Save]"),
            ["/runs/ckpt-1_temp/part-0 (No space left on device)"],
        ),
        (
            RuntimeError(
                "(sqlite3.OperationalError) database or disk is full e.g. ://a"
            ),
            ["run (disk is full)"],
        ),
        (
            IsADirectoryError(errno.EISDIR, "is one", "/run/flags.flags"),
            ["where they were written. Received: /run/flags.flags (Is a directory)"],
        ),
        (MemoryError("x"), ["fits into memory. Received: MemoryError: x"]),
        (
            RuntimeError("OOM when allocating tensor with shape[65536,65536] and"),
            ["tensor with shape[65536,65536], which does not"],
        ),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_disk_that_refuses_is_one_line(error, parts, monkeypatch, run_main):
    def fail(*arguments):
        try:
            raise error
        finally:
            # As a library does that cleans up after it.
            raise ValueError("in cleaning up")

    monkeypatch.setattr(cli, "_run", fail)
    code, _, err = run_main("--mode=pretrain", "--workdir=run")
    assert code == 1 and len(err.splitlines()) == 1
    for part in parts:
        assert part in err, err


def test_standard_output_that_is_full_is_one_line():
    program = "from vicreg_keras.cli import main; main(['main.py', '--help'])"
    command = [sys.executable, "-c", program]
    with open("/dev/full", "w") as full:
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert "standard output (No space left on device)" in line


def test_every_number_has_bounds():
    for one in all_options():
        for name, field in options.fields(one).items():
            kind, items = options.kind_of(one, name)
            if int in (kind, *items):
                assert field.metadata["minimum"] is not None, name
                assert field.metadata["maximum"] is not None, name


@pytest.mark.parametrize("text", ["nan", "-inf", "Infinity", "1e999"])
def test_what_is_no_finite_number_is_refused_by_name(text):
    for mode in MODES:
        for one in (recipe.Settings, DataOptions, MODES[mode].options):
            for name in options.fields(one):
                kind, items = options.kind_of(one, name)
                if not {int, float} & {kind, *items} or unused(mode, [name]):
                    continue
                value = ",".join([text] * max(1, len(items)))
                with pytest.raises((InputError, flags.Error), match=name):
                    cli.parse(["main.py", f"--mode={mode}", f"--{name}={value}"])


@pytest.mark.parametrize(
    ("mode", "argument"),
    [
        ("pretrain", "--crop_size=100000"),
        ("pretrain", "--projector=99999999999"),
        ("pretrain", "--projector=" + "9" * 5000),
        ("pretrain", "--projector=" + "-".join(["8"] * 101)),
        ("pretrain", "--epochs=99999999999999999999"),
        ("pretrain", "--epochs=" + "9" * 5000),
        ("pretrain", "--batch_size=1000000000000"),
        ("pretrain", "--learning_rate=1e39"),
        ("pretrain", "--init_from="),
        ("pretrain", "--workdir="),
        ("pretrain", "--workdir=a\nb"),
        ("pretrain", "--dataset=folder:a\u2028--seed=1"),
        ("pretrain", "--init_from=a\udcff"),
        ("retrieve", "--num_neighbors=99999999"),
        ("retrieve", "--query="),
        ("retrieve", "--output=runs/.csv"),
        ("embed", "--saved_model="),
        ("report", "--runs=a,,b"),
    ],
    ids=lambda text: text[:30].encode("unicode_escape").decode(),
)
def test_values_that_nothing_can_use_are_refused(mode, argument, run_main, tmp_path):
    run = tmp_path / "run"
    code, _, err = run_main(f"--mode={mode}", f"--workdir={run}", argument)
    name = argument.partition("=")[0].lstrip("-")
    assert code == 1 and len(err.splitlines()) == 1 and name in err
    assert len(err) < 6000 and not run.exists()
