"""Tables in CSV and Parquet files, and user-provided examples."""

import dataclasses
import pathlib
import re
from collections.abc import Mapping, Sequence

import numpy as np

from vicreg_keras.data.columns import Column
from vicreg_keras.data.sources.base import (
    NOTHING_KNOWN,
    Known,
    Source,
    quoted,
)
from vicreg_keras.data.sources.npz import load_npz
from vicreg_keras.data.sources.table_files import KINDS, TableFile
from vicreg_keras.data.sources.table_inference import (
    infer_columns,
    read_known_columns,
)
from vicreg_keras.data.sources.table_labels import read_labels
from vicreg_keras.data.sources.table_notes import (
    add_note,
    describe_left_out,
    describe_notes,
    option_value,
)
from vicreg_keras.data.split import Split
from vicreg_keras.errors import InputError
from vicreg_keras.settings import DataOptions

# Where pandas writes an index.
_INDEX = re.compile(r"Unnamed: 0(\.\d+)*|__index_level_\d+__")
# More columns whose whole numbers never repeat, and a larger part of all, are
# measurements rather than identifiers.
_MAX_IDENTIFIERS, _MAX_IDENTIFIER_FRACTION = 3, 0.1


def load_table(options: DataOptions, known: Known = NOTHING_KNOWN) -> Source:
    """Loads a CSV file or a Parquet file.

    A CSV file is UTF-8 text with commas, semicolons, tabs or pipes between its cells,
    whose first line names the columns. Those of a Parquet file are numbers, booleans,
    dates, times or text.

    Text is numbers or times (days since 1970) if all cells of a column are; see
    `infer_column`. Other text is categories, in their sorted order. Cells that are
    empty or say `NA`, `null`, `-` or the like are missing. Row numbers, identifiers and
    empty columns are left out.

    Args:
        options: Of these, `dataset`, `csv:PATH` or `parquet:PATH`; `label_column`,
            `drop_columns`, `categorical_columns`, `numeric_columns` and `header`.
        known: How the table of the encoder that it is for was read: its columns are
            taken by name, and categories by value.

    Returns:
        A source with `train` only, or with `unlabeled` for examples without a label;
        names are `"row/17"`, counted from 0 below the header.

    Raises:
        InputError: If there is no such file; if a column that is named or known is
            missing; if a column can't be read in one way only, or is text of too many
            kinds; or if a number is not finite in float32.
    """
    path = options.path()
    kind = options.dataset.partition(":")[0]
    if kind != "csv" and options.header != "first":
        raise InputError(
            f"Expected no header for dataset={options.dataset}, whose columns have "
            f"names. Received: header={options.header}. Leave header out."
        )
    file = TableFile(path, kind, options.header)
    label = options.label_column
    known_label = label if known.needs_labels or label in file.names else None
    columns, examples, left_out, notes = (
        _infer(file, options, label)
        if known.columns is None
        else _read_known(file, known.columns, known_label)
    )
    labels, class_names, more = _labels(file, label, is_needed=known.needs_labels)
    notes = (*file.notes, *notes, *_empty_rows(examples), *more)
    names = _row_names(examples)
    if labels is None:
        split = Split(examples, None, names)
        return Source(split, columns=columns, left_out=left_out, notes=notes)
    train, unlabeled = Split(examples, labels, names), None
    if (labels < 0).any():
        rows = np.flatnonzero(labels < 0)
        unlabeled = Split(examples, None, [names[row] for row in rows], rows)
        train = train.take(np.flatnonzero(labels >= 0))
    return Source(
        train,
        class_names=class_names,
        columns=columns,
        unlabeled=unlabeled,
        left_out=left_out,
        notes=notes,
    )


def _labels(file, label, *, is_needed):
    """What `read_labels` returns; no labels where there are none and none needed."""
    if label is None:
        return None, None, ()
    try:
        file.check_names([label], "that label_column names, empty for none")
        return read_labels(file, label)
    except InputError:
        if is_needed:
            raise
        return None, None, (f"no labels in column {label!r}, so read without them",)


def load_user_table(pattern: str, *, columns: Sequence[Column]) -> Source:
    """Loads user-provided examples from a CSV, Parquet or npz file.

    Its columns may be in any order, beside others that are not read. Cells are parsed
    as those of the training data; a category that it does not have is missing.

    Args:
        pattern: The file; one that is named neither .parquet nor .npz is a CSV file.
        columns: The training data's columns.

    Returns:
        A source with `train` only, without labels; names are those of the file's own
        rows, `"row/17"`.

    Raises:
        InputError: If there is no such file, it lacks a column, or cells of a column
            of numbers are something else.
    """
    path = pathlib.Path(pattern).expanduser()
    kind = path.suffix.removeprefix(".").lower()
    if not path.is_file():
        raise InputError(
            "Expected a file, .csv, .parquet or .npz, with the columns of the training "
            f"data. Received: {pattern}, which is none. Correct the path."
        )
    if kind == "npz":
        options, known = DataOptions(dataset=f"npz:{path}"), Known(tuple(columns))
        source = load_npz(options, known)
        if source.columns is None:
            raise InputError(
                f"Expected a table of {len(columns)} columns. Received: {path} with "
                "images instead. Save a matrix under the key 'examples'."
            )
        return source
    kind, header = kind if kind in KINDS else "csv", "first"
    if kind == "csv" and columns[0].file_widths:
        # Of a run without a header; such a file may have got one since.
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            header = "first" if columns[0].name in file.readline() else "none"
    table = TableFile(path, kind, header)
    known, examples, left_out, notes = _read_known(table, tuple(columns), None)
    split = Split(examples, None, _row_names(examples))
    notes = (*table.notes, *notes, *_empty_rows(examples))
    return Source(split, columns=known, left_out=left_out, notes=notes)


def _infer(file, options, label):
    """Columns, examples, what is left out and notes of a table of its own."""
    names = _example_columns(file, options, label)
    kinds = dict.fromkeys(options.categorical_columns, "categories")
    kinds |= dict.fromkeys(options.numeric_columns, "numbers")
    omitted, problems, notes, kept = {}, {}, {}, []
    ones, examples = infer_columns(file, names, kinds)
    for i, one in enumerate(ones):
        if one.problem:
            problems[one.column.name] = one.problem
        elif reason := _why_omitted(one, kinds):
            omitted.setdefault(reason, []).append(one.column.name)
        else:
            kept.append(i)
            if _INDEX.fullmatch(one.column.name) and not one.note[0]:
                one = dataclasses.replace(one, note=("not row numbers, so kept", ""))
            add_note(notes, one)
    if problems:
        raise _problem_error(file, problems)
    identifiers = [i for i in kept if ones[i].is_identifier]
    chosen = _choose_identifiers(examples, identifiers, len(names))
    if left := [ones[i].column.name for i in identifiers if i not in chosen]:
        notes["whole numbers that never repeat, kept as numbers"] = (left, [""])
    if chosen:
        named = [ones[i].column.name for i in chosen]
        omitted["whole numbers that never repeat"] = named
    kept = [i for i in kept if i not in chosen]
    columns = [ones[i].column for i in kept]
    examples = examples if len(kept) == len(ones) else examples[:, kept]
    if file.header == "none":
        # Of files alike, one may lack the labels behind the other columns.
        spare = options.drop_columns if label is None else (label,)
        widths = (len(file.names), len(file.names) - (file.names[-1] in spare))
        columns = [dataclasses.replace(one, file_widths=widths) for one in columns]
    if not columns:
        raise InputError(
            f"Expected a column to learn from. Received: {file.path} with columns "
            f"{quoted(names)}, of which {'; '.join(describe_left_out(omitted))}. "
            f"Keep some by numeric_columns={option_value(names[:1])} or "
            "categorical_columns."
        )
    return tuple(columns), examples, describe_left_out(omitted), describe_notes(notes)


def _why_omitted(one, kinds):
    """Why a column is left out, or an empty text."""
    name, values = one.column.name, one.values
    if one.omitted or np.isnan(values).all():
        return one.omitted or "nothing"
    is_number = one.column == Column(name)
    if name in kinds or not is_number or not _INDEX.fullmatch(name):
        return ""
    is_unique = one.is_identifier or len(np.unique(values)) == len(values)
    is_whole = np.array_equal(values, np.floor(values))
    return "row numbers, as pandas writes them" if is_unique and is_whole else ""


def _choose_identifiers(examples, identifiers, num_columns):
    """Which of the columns whose whole numbers never repeat are left out."""
    limit = max(_MAX_IDENTIFIERS, _MAX_IDENTIFIER_FRACTION * num_columns)
    if len(identifiers) <= limit:
        return identifiers
    # Of many, those that count the rows.
    return [i for i in identifiers if np.ptp(examples[:, i]) == len(examples) - 1]


def _read_known(file, known, label):
    """Columns, examples, what is left out and notes of a table of known columns."""
    columns, widths = {column.name: column for column in known}, known[0].file_widths
    if file.header == "none" and widths and len(file.names) not in widths:
        raise InputError(
            f"Expected {' or '.join(map(str, sorted({*widths})))} columns without a "
            f"header, as in the training data. Received: {file.path} with "
            f"{len(file.names)}. Give it the same columns, or a header with "
            f"{quoted(columns)}."
        )
    file.check_names(columns, "of the training data")
    if label is not None:
        file.check_names([label], "that label_column names, empty for none")
    if label in columns:
        raise InputError(
            "Expected a label_column that the encoder was not trained on. Received: "
            f"label_column={label}. Use another one, or train anew without it."
        )
    notes = {}
    ones, examples = read_known_columns(file, known)
    for one in ones:
        add_note(notes, one)
    others = [name for name in file.names if name not in columns and name != label]
    omitted = {"not a column of the encoder": others} if others else {}
    return tuple(known), examples, describe_left_out(omitted), describe_notes(notes)


def _problem_error(file: TableFile, problems: Mapping[str, str]) -> InputError:
    names = option_value(list(problems))
    texts = list(problems.values())
    more = f"; and {len(texts) - 5:,} more" if len(texts) > 5 else ""
    return InputError(
        "Expected numbers, times (best as 2020-01-31) or up to 100 categories in each "
        f"column. Received: {file.path} with {'; '.join(texts[:5])}{more}. Correct or "
        f"empty such cells, or use categorical_columns={names} where they are names, "
        f"or drop_columns={names}."
    )


def _empty_rows(examples: np.ndarray) -> tuple[str, ...]:
    """A note on rows that hold nothing, as spreadsheets leave them."""
    empty = np.isnan(examples).all(axis=1)
    if not empty.any():
        return ()
    return (
        f"{empty.sum():,} of {len(empty):,} rows have no value in any column, the "
        f"first is row/{empty.argmax()}",
    )


def _row_names(examples: np.ndarray) -> list[str]:
    return [f"row/{i}" for i in range(len(examples))]


def _example_columns(file: TableFile, options: DataOptions, label: str) -> list[str]:
    """The columns that an example is made of."""
    dropped, numeric = options.drop_columns, options.numeric_columns
    categorical = options.categorical_columns
    named = [*dropped, *numeric, *categorical, *([] if label is None else [label])]
    file.check_names(named, "that label_column, drop_columns and the like name")
    names = [name for name in file.names if name not in (label, *dropped)]
    if label in dropped or not names:
        raise InputError(
            "Expected a label_column that is not dropped, and at least one column "
            f"beside those left out. Received: label_column={label!r}, drop_columns="
            f"{list(dropped)}, {file.path} with columns {quoted(file.names)}. Drop "
            "fewer."
        )
    if both := set(categorical) & set(numeric):
        raise InputError(
            "Expected columns to be either categorical or numeric. Received: "
            f"{quoted(sorted(both))} in categorical_columns and numeric_columns. Leave "
            "them out of one."
        )
    return names
