"""Columns of a Parquet file in types of their own, and what they are."""

import datetime
import decimal

import numpy as np
import pyarrow as pa

from tests.data.fuzz_cells import NUM_ROWS, Made

_EPOCH = datetime.datetime(1970, 1, 1)
_NUMBERS = {
    "int8": (pa.int8(), 100),
    "int64": (pa.int64(), 1000),
    "uint8": (pa.uint8(), 200),
    "uint64": (pa.uint64(), 9000),
    "large int64": (pa.int64(), 2**60),
    "float16": (pa.float16(), 50),
    "float32": (pa.float32(), 50),
    "float64": (pa.float64(), 1e9),
}
_TIMES = {
    "date32": pa.date32(),
    "date64": pa.date64(),
    "seconds": pa.timestamp("s"),
    "nanoseconds": pa.timestamp("ns"),
    "with a zone": pa.timestamp("us", "Europe/Berlin"),
    "UTC": pa.timestamp("ms", "UTC"),
}
_OTHERS = (
    *("bool", "dictionary", "large string", "decimal", "time", "duration", "list"),
    *("struct", "binary", "NaN", "dictionary of numbers", "text of one value"),
)
TYPED_KINDS = (*_NUMBERS, *_TIMES, *_OTHERS)


def typed(random, kind):
    """A column of a type of its own; some of it may be missing."""
    mask = random.random(NUM_ROWS) < random.choice([0, 0.2])
    mask[:6] = False
    codes = random.integers(0, 3, NUM_ROWS)
    codes[:3] = np.arange(3)
    if kind in _NUMBERS:
        return _number(random, kind, mask)
    if kind in _TIMES:
        return _time(random, _TIMES[kind], mask)
    words = np.array(["red", "blue, dark", "größer"])[codes].tolist()
    if kind in ("dictionary", "large string", "text of one value"):
        words = ["same"] * NUM_ROWS if kind.startswith("text") else words
        array = pa.array(words, pa.large_string(), mask=mask)
        if kind == "dictionary":
            array = pa.array(words, mask=mask).dictionary_encode()
        return _made(words, array, mask)
    if kind == "bool":
        truth = codes > 0
        array = pa.array(truth, mask=mask)
        return _made(
            truth.astype(float).tolist(), array, mask, truth.astype(str).tolist()
        )
    if kind == "NaN":
        values = np.where(mask, np.nan, np.round(random.normal(0, 9, NUM_ROWS), 3))
        return _made(values.tolist(), pa.array(values), mask)
    if kind == "dictionary of numbers":
        values = (codes * 5).astype(float).tolist()
        return _made(values, pa.array(codes * 5, mask=mask).dictionary_encode(), mask)
    if kind == "decimal":
        values = [
            decimal.Decimal(int(n)) / 100 for n in random.integers(-999, 999, NUM_ROWS)
        ]
        return _made(
            list(map(float, values)),
            pa.array(values, pa.decimal128(9, 2), mask=mask),
            mask,
        )
    if kind in ("time", "duration"):
        seconds = random.integers(0, 86_400, NUM_ROWS)
        kind = pa.time32("s") if kind == "time" else pa.duration("s")
        array = pa.array(seconds.astype(np.int32 if "time" in str(kind) else np.int64))
        array = array.cast(kind) if "time" in str(kind) else pa.array(seconds, kind)
        array = pa.compute.if_else(pa.array(~mask), array, pa.scalar(None, array.type))
        cells = None
        if "time" in str(kind):  # A number is no time of day.
            cells = [str(datetime.timedelta(seconds=int(one))) for one in seconds]
        return _made((seconds / 86_400).tolist(), array, mask, cells)
    array = {
        "list": lambda: pa.array([[1, 2]] * NUM_ROWS),
        "struct": lambda: pa.array([{"a": 1}] * NUM_ROWS),
        "binary": lambda: pa.array([b"\xff\x00"] * NUM_ROWS),
    }[kind]()
    return Made([""] * NUM_ROWS, None, array, fate="refused")


def _number(random, kind, mask):
    arrow, scale = _NUMBERS[kind]
    values = random.normal(0, float(scale) / 3, NUM_ROWS)
    if "int" in kind:
        values = np.clip(np.rint(values), 0 if kind[0] == "u" else -scale, scale)
        values = values.astype(np.int64)
    else:
        values = values.astype(kind)
    values[3:6] = values[3]  # Not the numbers of the examples.
    return _made(
        values.astype(float).tolist(), pa.array(values, arrow, mask=mask), mask
    )


def _time(random, kind, mask):
    seconds = random.integers(0, 1_700_000_000, NUM_ROWS)
    if pa.types.is_date(kind):
        seconds -= seconds % 86_400
    moments = [_EPOCH + datetime.timedelta(seconds=int(one)) for one in seconds]
    array = pa.array(moments, pa.timestamp("us")).cast(kind)
    array = pa.compute.if_else(pa.array(~mask), array, pa.scalar(None, kind))
    end = "Z" if getattr(kind, "tz", None) else ""
    cells = [moment.isoformat() + end for moment in moments]
    return _made((seconds / 86_400).tolist(), array, mask, cells)


def _made(values, array, mask, cells=None):
    cells = cells or [one if isinstance(one, str) else repr(one) for one in values]
    cells = ["" if gone else cell for cell, gone in zip(cells, mask, strict=True)]
    values = [None if gone else value for value, gone in zip(values, mask, strict=True)]
    return Made(cells, values, array)
