"""The command line: flags generated from the options, and errors in one line."""

import contextlib
import importlib
import io
import os
import pathlib
import re
import shlex
import sys
from collections.abc import Sequence
from typing import Any

# Before TensorFlow is imported: its start-up notes are not about the user's run.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from absl import flags, logging  # noqa: E402

from vicreg_keras.errors import (  # noqa: E402
    InputError,
    error_reason,
    escape,
    machine_error,
)
from vicreg_keras.hardware import interrupts  # noqa: E402
from vicreg_keras.hardware.streams import (  # noqa: E402
    one_line_warnings,
    outlive_readers,
    silent_stderr,
)
from vicreg_keras.modes import MODES, all_options, unused  # noqa: E402
from vicreg_keras.modes.help import help_text  # noqa: E402
from vicreg_keras.modes.options import EncoderOptions, RunOptions  # noqa: E402
from vicreg_keras.modes.request import Request  # noqa: E402
from vicreg_keras.settings import DataOptions, Settings  # noqa: E402
from vicreg_keras.settings.options import (  # noqa: E402
    check_given,
    fields,
    kind_of,
    not_default,
)
from vicreg_keras.workdir.recipe import recorded_flags  # noqa: E402

_KINDS = {"bool": "true or false", "float": "a number", "int": "a whole number"}


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the mode that the command line asks for, and exits with its status.

    Args:
        argv: The program's name and its flags; `None` takes `sys.argv`.
    """
    argv = list(sys.argv if argv is None else argv)
    with interrupts.exit_at_signals(), outlive_readers():
        try:
            if any(re.fullmatch("--?h(elp(full|short)?)?", text) for text in argv[1:]):
                print(help_text(argv))
                status = 0
            else:
                with one_line_warnings():
                    status = _run(parse(argv), argv)
            sys.stdout.flush()
        except (InputError, flags.Error) as error:
            status = _fail(error)
        except KeyboardInterrupt:
            status = interrupts.STATUS
        except Exception as error:
            place = flags.FLAGS["workdir"].value or "a file"
            if (problem := machine_error(error, place)) is None:
                raise
            status = _fail(problem)
            try:
                sys.stdout.flush()
            except OSError:
                # What was not written yet, and can't be, goes nowhere.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if status == interrupts.STATUS:
            interrupts.say_interrupted()
        sys.exit(status)


def parse(argv: Sequence[str]) -> Request:
    """Returns what the command line asks for, checked as far as it can be without data.

    In every mode but pretraining, the flags that a run was started with are defaults.

    Args:
        argv: The program's name and its flags.

    Raises:
        InputError: If a value is wrong, or a flag has no effect in this mode.
        absl.flags.Error: If a flag is unknown or of another type.
    """
    given = _given(argv)
    run = _from_flags(RunOptions)
    mode, workdir = run.mode, run.workdir
    if mode not in MODES:
        raise InputError(
            f"Expected mode to be one of {', '.join(MODES)}. "
            f"Received: {mode or 'none'}."
        )
    needs = MODES[mode].needs
    recorded = []
    if mode != "pretrain" and needs != "runs" and workdir:
        required = needs == "encoder" and not flags.FLAGS.saved_model
        recorded = recorded_flags(pathlib.Path(workdir), required)
    if recorded:
        values = {name: flags.FLAGS[name].value for name in given}
        # Before the given flags, which win.
        _parse_flags([argv[0], *recorded])
        for name in unused(mode, given):
            if flags.FLAGS[name].value != values[name] or name in _typed(argv):
                raise _not_in_this_mode(name, mode)
        _parse_flags([argv[0], *recorded, *argv[1:]])
    else:
        for name in unused(mode, given):
            raise _not_in_this_mode(name, mode)
    request = Request(
        mode,
        workdir,
        _from_flags(EncoderOptions),
        _from_flags(DataOptions),
        _from_flags(Settings),
        _from_flags(MODES[mode].options),
    )
    check_given((request.data, request.settings, request.options), given)
    return request


def define_flags() -> None:
    """Defines one flag for every option, by its name."""
    for options in all_options():
        for name, field in fields(options).items():
            if name not in flags.FLAGS:
                _define(options, name, field)


def _define(options, name, field):
    help = field.metadata["help"]
    default, (kind, _) = field.default, kind_of(options, name)
    if field.metadata["choices"] and kind is str:
        flags.DEFINE_enum(name, default, field.metadata["choices"], help)
    elif kind is tuple:
        flags.DEFINE_list(name, default and [*map(str, default)], help)
    else:
        define = {
            bool: flags.DEFINE_bool,
            int: flags.DEFINE_integer,
            float: flags.DEFINE_float,
            str: flags.DEFINE_string,
        }[kind]
        define(name, default, help)


def _given(argv: Sequence[str]) -> list[str]:
    """Parses the command line; returns the names of the flags that it sets."""
    if rest := _parse_flags(argv):
        raise InputError(f"Expected flags only, --name=value. Received: {rest[0]}")
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # FAISS logs how it was loaded.
    known = {name for options in all_options() for name in fields(options)}
    return sorted(name for name in known if flags.FLAGS[name].present)


def _parse_flags(argv: Sequence[str]) -> list[str]:
    """Parses a command line from the defaults on; returns what is no flag."""
    flags.FLAGS.unparse_flags()
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            rest = flags.FLAGS(list(argv))[1:]
        problem = "one includes itself" if said.getvalue() else None
    except ValueError as error:  # Of a file that is no text, for example.
        problem = error_reason(error)
    if problem:
        named = " ".join(text for text in argv if "flagfile" in text)
        raise InputError(
            "Expected flag files of UTF-8 text, which do not include themselves. "
            f"Received: {named} ({problem}). Correct it."
        )
    return rest


def _typed(argv: Sequence[str]) -> set[str]:
    """Returns the names of the flags on the command line itself."""
    names = {re.split("=", text.lstrip("-"), maxsplit=1)[0] for text in argv[1:]}
    return names | {name.removeprefix("no") for name in names}


def _not_in_this_mode(name: str, mode: str) -> InputError:
    users = [other for other in MODES if not unused(other, [name])]
    return InputError(
        f"Expected flags of --mode={mode}. Received: --{name}, which is for --mode="
        f"{', '.join(users)}. Leave it out."
    )


def _from_flags(options: type) -> Any:
    values = {}
    for name in fields(options):
        value = flags.FLAGS[name].value
        kind, items = kind_of(options, name)
        if kind is tuple and value is not None:
            value = _tuple(name, value, items)
        values[name] = value
    return options(**values)


def _tuple(name: str, texts: Sequence[str], types: Sequence[type]) -> tuple:
    """Returns the items of a list or of an interval, of their type."""
    try:
        values = tuple(types[0](text) for text in texts)
        if len(types) == 2 and len(values) != 2:
            raise ValueError
    except ValueError:
        shape = "LOW,HIGH" if len(types) == 2 else "numbers with commas between them"
        raise InputError(
            f"Expected {name} to be {shape}. Received: {name}={','.join(texts)}."
        ) from None
    return values


def _run(request: Request, argv: Sequence[str]) -> int:
    """Runs a mode; returns the exit status."""
    request.check_paths()
    with silent_stderr():
        import tensorflow as tf

        from vicreg_keras.hardware.precision import apply_precision
    try:
        module = importlib.import_module(f"vicreg_keras.modes.{request.mode}")
        with interrupts.raise_at_signals():
            return _run_mode(module, request, apply_precision(request.settings), argv)
    except tf.errors.OpError as error:
        # What reading an example raised, inside a tf.data pipeline.
        cause = re.search(r"InputError: (Expected .*)", str(error))
        if not cause:
            raise
        raise InputError(cause[1]) from error


def _run_mode(module, request, settings, argv):
    needs = MODES[request.mode].needs
    if needs == "recipe":
        return _train(module, request, settings, argv)
    if needs == "runs":
        module.run(request.options)
    else:
        _evaluate(module, request, settings)
    return 0


def _train(module, request, settings, argv):
    from vicreg_keras.workdir.run_folder import RunFolder

    run = RunFolder(request.workdir)
    status = module.run(settings, request.data, run, request.options)
    if status == 130:
        print(f"\nStopped; all is saved. To continue:\n  {_command(argv[1:])}")
    elif request.mode == "pretrain":
        print(
            f"Next:\n  {_command(['--mode=evaluate', f'--workdir={request.workdir}'])}"
        )
    return status


def _command(arguments: Sequence[str]) -> str:
    """Returns what the user types to run the program with other flags."""
    program = pathlib.Path(sys.argv[0]).name
    start = program if program == "vicreg-keras" else "python main.py"
    return f"{start} {shlex.join(arguments)}"


def _evaluate(module, request, settings):
    from vicreg_keras.modes.open_context import open_context
    from vicreg_keras.workdir.run_folder import RunFolder

    run = RunFolder(request.workdir) if request.workdir else None
    given = not_default(request.data) | not_default(request.options)
    given |= not_default(request.encoder)
    context = open_context(
        settings,
        request.data,
        run,
        request.encoder,
        needs_labels=MODES[request.mode].needs_labels,
        options=given,
    )
    module.run(context, request.options)
    if run is not None and not context.keeps:
        print(f"Nothing was kept in {run.path}, which can't be written.")
    elif run is not None and run.metrics.exists():
        print(f"Metrics are in {run.metrics}, figures in {run.figures}.")


def _fail(error: Exception) -> int:
    """Prints an error in one line, with flags in place of arguments; returns 1."""
    logging.debug("Caused by:", exc_info=True)  # With --verbosity=1.
    message = " ".join(str(error).split())
    # Longer than any path.
    message = re.sub(r"(\S{100})\S{5000,}", r"\1...", message)
    if illegal := re.match(r"flag --(\w+)=(.*?): ", message):
        name, value = illegal.groups()
        if expected := _KINDS.get(flags.FLAGS[name].flag_type()):
            message = f"Expected {expected}. Received: --{name}={value}."
    for name in flags.FLAGS:
        # A name of one word is an argument only where it has a value.
        end = r"\b" if "_" in name else "(?==)"
        message = re.sub(rf"(?<![\w\-/.]){name}{end}", f"--{name}", message)
    if isinstance(error, flags.Error):
        message = f"{message.rstrip('. ')}. See --help."
    print(f"main.py: {escape(message)}", file=sys.stderr)
    return 1


define_flags()
