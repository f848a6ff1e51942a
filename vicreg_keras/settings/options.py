"""An option of a dataclass: default, bounds, choices and help, given once."""

import csv
import dataclasses
import errno
import glob
import io
import math
import os
import pathlib
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vicreg_keras.errors import InputError, escape

_MAX_FLOAT = 3e38  # Of float32, in which everything is computed.
_MAX_WIDTH, _MAX_LAYERS = 2**16, 100


def option(
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    exclusive: Sequence[str] = (),
    choices: Sequence[str] | None = None,
    group: str = "training",
    only_with: Mapping[str, Sequence[Any]] | None = None,
    fixed: bool = True,
    exists: bool = False,
    suffixes: Sequence[str] = (),
    may_be_empty: bool = False,
) -> Any:
    """Returns a dataclass field that describes one option.

    Args:
        default: The default value, which is not checked against the bounds.
        help: One line for `--help`.
        minimum: Smallest value, or of each number of an interval.
        maximum: Largest value, likewise.
        exclusive: Which of `"minimum"` and `"maximum"` are themselves excluded.
        choices: All values there are; of a tuple, of each of its items.
        group: Heading in `--help`; `Settings.group` selects by it.
        only_with: Names of other options with the values beside which this one has
            an effect.
        fixed: Whether a run can only be continued with the same value.
        exists: Whether the value is the path, or a glob, of something that is there.
        suffixes: What a path may end in.
        may_be_empty: Whether an empty text is a value.
    """
    return dataclasses.field(
        default=default,
        metadata={
            "help": help,
            "minimum": minimum,
            "maximum": maximum,
            "exclusive": exclusive,
            "choices": choices and tuple(choices),
            "group": group,
            "only_with": dict(only_with or {}),
            "fixed": fixed,
            "exists": exists,
            "suffixes": tuple(suffixes),
            "may_be_empty": may_be_empty,
        },
    )


def fields(options: Any) -> dict[str, dataclasses.Field]:
    """Returns the options of a dataclass or an instance of one, by name."""
    return {field.name: field for field in dataclasses.fields(options)}


def kind_of(options: Any, name: str) -> tuple[type, tuple[type, ...]]:
    """Returns an option's type, and the types of its items if it is a tuple.

    The type is `bool`, `int`, `float`, `str` or `tuple`. An interval has two items, a
    list has one.
    """
    owner = options if isinstance(options, type) else type(options)
    hint = typing.get_type_hints(owner)[name]
    if isinstance(hint, types.UnionType):
        hint = next(one for one in typing.get_args(hint) if one is not types.NoneType)
    items = tuple(one for one in typing.get_args(hint) if one is not Ellipsis)
    return typing.get_origin(hint) or hint, items


class Options:
    """Base of the option dataclasses, which checks every value.

    Raises:
        InputError: If a value is out of bounds, not finite or not among the choices,
            if a text has line ends, or if a path is empty or has another suffix.
    """

    def __post_init__(self):
        for name, field in fields(self).items():
            value = getattr(self, name)
            if value is None:
                continue
            if value == () and field.default != ():
                raise InputError(f"Expected values of {name}. Received: none.")
            for item in value if isinstance(value, tuple) else (value,):
                if (
                    item == ""
                    and (value == "" or field.metadata["exists"])
                    and not (
                        field.metadata["may_be_empty"] or field.metadata["choices"]
                    )
                ):
                    raise InputError(
                        f"Expected a value of {name}. Received: {name}={text_of(value)}"
                        f" with an empty text. Correct it, or leave {name} out."
                    )
                _check_value(name, value, item, field.metadata)
            _, items = kind_of(self, name)
            if len(items) == 2 and (len(value) != 2 or value[0] > value[1]):
                raise InputError(
                    f"Expected {name} to be an interval LOW,HIGH. "
                    f"Received: {name}={text_of(value)}."
                )


def check_given(options: Sequence[Any], given: Iterable[str]) -> None:
    """Checks that every given option has an effect beside the others.

    Args:
        options: Instances of option dataclasses, which together hold all options.
        given: Names of the options that the user has set.

    Raises:
        InputError: If one has none, for example `eta` beside the optimizer adamw.
    """
    known = {name: one for one in options for name in fields(one)}
    for name in given:
        if name not in known:
            continue
        for other, values in fields(known[name])[name].metadata["only_with"].items():
            value = getattr(known[other], other)
            if value not in values and value != "auto":
                wanted = " or ".join(f"{other}={text}" for text in values)
                raise InputError(
                    f"Expected {wanted} beside {name}, which has no effect otherwise. "
                    f"Received: {name}={text_of(getattr(known[name], name))} with "
                    f"{other}={value}. Leave {name} out."
                )


def check_paths(options: Any) -> None:
    """Checks that the paths and globs among the options are those of something.

    Raises:
        InputError: If one is not.
    """
    for name, field in fields(options).items():
        value = (getattr(options, name) or ()) if field.metadata["exists"] else ()
        for path in value if isinstance(value, tuple) else (value,):
            if not matching_paths(path):
                raise InputError(
                    f"Expected {name} to be a path that exists. Received: "
                    f"{name}={path}. Correct it."
                )


def check_writable(name: str, path: str | os.PathLike, remedy: str) -> None:
    """Checks that a file or folder can be written, or made, where it is to be.

    Args:
        name: The option, for the message.
        path: The path.
        remedy: What to do.

    Raises:
        InputError: If it can't.
    """
    if problem := write_problem(path):
        raise InputError(
            f"Expected {name} to be a path that can be written. Received: "
            f"{name}={path} ({problem}). {remedy}."
        )


def write_problem(path: str | os.PathLike) -> str | None:
    """Returns why a path can't be written, in short, or `None` if it can."""
    path = pathlib.Path(path)
    place = path if path.is_dir() else path.parent
    while not os.path.lexists(place):
        place = place.parent
    if not place.is_dir():
        return os.strerror(errno.ENOTDIR)
    if os.access(place, os.W_OK | os.X_OK):
        return None
    is_read_only = os.statvfs(place).f_flag & os.ST_RDONLY
    return os.strerror(errno.EROFS if is_read_only else errno.EACCES)


def matching_paths(pattern: str) -> list[pathlib.Path]:
    """Returns what a path names, and what it matches as a glob."""
    path = pathlib.Path(pattern).expanduser()
    # A file's name, or a folder's, may itself look like a glob.
    base = next((one for one in path.parents if os.path.isdir(one)), path)
    rest = str(path.relative_to(base))
    found = {base / one for one in glob.glob(rest, root_dir=base, recursive=True)}
    return sorted(found | ({path} if os.path.exists(path) else set()))


def not_default(options: Any) -> dict[str, Any]:
    """Returns the options that differ from their defaults, by name."""
    values = {name: getattr(options, name) for name in fields(options)}
    return {k: v for k, v in values.items() if v != fields(options)[k].default}


def to_flags(*options: Any) -> dict[str, str]:
    """Returns options as the lines of a flag file hold them.

    Args:
        *options: Instances of option dataclasses, which together hold all options.

    Returns:
        Texts by name. Options that are `None`, and those that have no effect beside the
        others, are left out.
    """
    known = {name: one for one in options for name in fields(one)}
    texts = {}
    for name, one in known.items():
        value = getattr(one, name)
        has_effect = all(
            getattr(known[other], other) in (*values, "auto")
            for other, values in fields(one)[name].metadata["only_with"].items()
        )
        if value is None or not has_effect:
            continue
        if isinstance(value, tuple):
            line = io.StringIO()
            csv.writer(line, lineterminator="").writerow(value)
            texts[name] = line.getvalue()
        else:
            texts[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return texts


def free_names(*options: Any) -> set[str]:
    """Returns the names of the options that may change when a run is continued."""
    return {
        name
        for one in options
        for name, field in fields(one).items()
        if not field.metadata["fixed"]
    }


def parse_widths(text: str, name: str = "projector") -> tuple[int, ...]:
    """Returns the widths that a text such as `"2048-2048-2048"` lists.

    Args:
        text: Widths with hyphens between them; an empty text for no layer at all.
        name: The option, for the message.

    Raises:
        InputError: If it is something else.
    """
    widths = text.split("-") if text else []
    # Of few digits, so that `int` reads them.
    if len(widths) > _MAX_LAYERS or not all(
        re.fullmatch("[0-9]{1,9}", width) and 1 <= int(width) <= _MAX_WIDTH
        for width in widths
    ):
        raise InputError(
            f"Expected {name} to be widths such as 2048-2048-2048, each in [1, "
            f"{_MAX_WIDTH}], of {_MAX_LAYERS} layers or fewer. Received: {name}={text}."
        )
    return tuple(map(int, widths))


def _check_value(name, value, item, metadata):
    received = f"Received: {name}={text_of(value)}."
    choices, low, high = (metadata[key] for key in ("choices", "minimum", "maximum"))
    if choices is not None and item not in choices:
        raise InputError(
            f"Expected {name} to be one of {', '.join(choices)}. {received}"
        )
    if isinstance(item, str) and item != (escaped := escape(item)):
        raise InputError(
            f"Expected {name} as a line of UTF-8, without control characters. Received:"
            f" {name}={escaped}. Rename what it names."
        )
    suffixes = metadata["suffixes"]
    if suffixes and pathlib.PurePath(item).suffix not in suffixes:
        raise InputError(
            f"Expected {name} to end in {' or '.join(suffixes)}. {received}"
        )
    if isinstance(item, bool | str):
        return
    if not isinstance(item, int) and not math.isfinite(item):
        raise InputError(f"Expected {name} to be a finite number. {received}")
    if high is None and item > _MAX_FLOAT:
        high = _MAX_FLOAT
    exclusive = metadata["exclusive"]
    below = low is not None and (item < low or ("minimum" in exclusive and item == low))
    above = high is not None and (
        item > high or ("maximum" in exclusive and item == high)
    )
    if below or above:
        raise InputError(f"Expected {name} {_bounds(low, high, exclusive)}. {received}")


def _bounds(low, high, exclusive):
    if high is None:
        return f"to be {'above' if 'minimum' in exclusive else 'at least'} {low:.12g}"
    start, end = (
        "(" if "minimum" in exclusive else "[",
        ")" if "maximum" in exclusive else "]",
    )
    return f"in {start}{low:.12g}, {high:.12g}{end}"


def text_of(value: Any) -> str:
    """Returns a value as it is typed."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
