"""Cells as people write them: the rewrites that make plain numbers and times of them.

A column has a format if it fits all of its cells. The rewrites of a format are applied
one after the other to each cell, here and in the graph of a SavedModel.
"""

import dataclasses
import re

import pyarrow as pa
import pyarrow.compute

from vicreg_keras.data.cells import NUMBER, matches, replace


@dataclasses.dataclass(frozen=True)
class Format:
    """How the cells of a column are written.

    Attributes:
        name: In words; empty for plain cells.
        rewrites: See `Column`.
        problem: Why its cells can't be read, or empty.
        undecided: A cell whose point may separate thousands or decimals, if that goes
            for all cells with a point; it was taken for decimals.
    """

    name: str
    rewrites: tuple[tuple[str, str], ...] = ()
    problem: str = ""
    undecided: str = ""


class Rewriter:
    """Cells, and the rewrites that have changed them so far.

    Args:
        texts: Cells without the blanks around them, none missing.
    """

    def __init__(self, texts: pa.Array):
        self.texts = texts
        self.rewrites: list[tuple[str, str]] = []
        self.rewrite("[‐‑‒–—―−﹣－]", "-")
        self.rewrite(r"[\pZ\s]+", " ")
        self.rewrite("[µμ]", "μ", only_if_any=True)  # A sign, and a letter.

    def any(self, pattern: str) -> bool:
        """Returns whether a pattern is found in any cell."""
        return pa.compute.any(matches(self.texts, pattern)).as_py()

    def all(self, pattern: str) -> bool:
        """Returns whether a pattern is found in all cells."""
        return pa.compute.all(matches(self.texts, pattern)).as_py()

    def parts(self, pattern: str) -> list[set[str]]:
        """Returns the distinct texts of each group, of the cells that match."""
        found = pa.compute.extract_regex(self.texts, pattern).drop_null()
        return [set(field.unique().to_pylist()) for field in found.flatten()]

    def rewrite(
        self, pattern: str, replacement: str, *, only_if_any: bool = False
    ) -> bool:
        """Adds a rewrite.

        Args:
            pattern: What is replaced, wherever it is found.
            replacement: By what.
            only_if_any: Whether it is left out if it would change no cell.

        Returns:
            Whether it was added.
        """
        if only_if_any and not self.any(pattern):
            return False
        self.texts = replace(self.texts, pattern, replacement)
        self.rewrites.append((pattern, replacement))
        return True


_CODES = (
    *("USD", "EUR", "GBP", "JPY", "CHF", "CNY", "INR", "CAD", "AUD", "NZD", "SEK"),
    *("NOK", "DKK", "PLN", "CZK", "HUF", "RON", "BRL", "MXN", "ZAR", "KRW", "SGD"),
    *("HKD", "TRY", "RUB", "ILS", "THB", "TWD", "IDR", "MYR", "PHP", "AED", "SAR"),
)
_SIGNS = rf"[A-Za-z]{{0,3}}\p{{Sc}}|{'|'.join(_CODES)}|Rs\.?|kr\.?|Fr\.?"
_CURRENCY = rf"(?P<currency>{_SIGNS})"
_DIGITS = r"[\d.,' ]*\d"
# Letters, and other characters; classes of Unicode would take a millisecond each time.
_LETTER = r"A-Za-z%\x{80}-\x{10FFFF}"
# A text behind a number; `e5` is an exponent.
_UNIT = rf"^[+-]?{_DIGITS}\.? ?(?P<unit>(?:[{_LETTER}\"'].*)?)$"
_MAGNITUDES = {"k": 3, "K": 3, "M": 6, "mn": 6, "Mn": 6, "mio": 6, "Mio": 6}
_MAGNITUDES |= {"B": 9, "bn": 9, "Bn": 9, "T": 12}
_EXPONENT = r"(?:[eE][+-]?\d+)?"
# Beside exponents as people write them, no thousands are separated: 1,235e+06.
_MAGNITUDE = "(?:e(?:3|6|9|12))?"
# Zeros of other scripts; the other digits follow them.
_ZEROS = "٠۰०０"
# Thousands and decimals, in the order that they are tried.
_STYLES = ((",", "."), (".", ","), (" ", ","), ("'", ","), (" ", "."), ("'", "."))
# Not 1000, which has no point, nor 0.125.
_MAY_BE_THOUSANDS = r"^[+-]?(?:\d{1,3}|[1-9]\d{0,2}(?:\.\d{3})+)$"
_LAKHS = r"^[+-]?(?:[1-9]\d?(?:,\d{2})*,\d{3}|\d{1,3})(?:\.\d*)?$"
_NAMES = {",": "commas", ".": "points", " ": "spaces", "'": "apostrophes"}
# What looks like one of the numbers above, on its own.
WRITTEN_NUMBER = (
    rf"^[(+-]?\s?(?:{_SIGNS})?\s?[(+-]?"
    r"(?:\d+(?:[.,]\d+)?|\.\d+|\d{1,3}(?:[., ']\d{2,3})+(?:[.,]\d+)?)(?:[eE][+-]?\d+)?"
    rf"\s?(?:\p{{Sc}}|[{_LETTER}][^\s\d]{{0,7}}\d?)?\)?-?$"
)
# Numbers beside signs, of which no single number can be made: <5, 5±1, 5x7, 5'11".
SIGNED_NUMBER = (
    r"^[<>~≈≤≥=*]{0,2}\s?[+-]?\d+(?:[.,]\d+)?"
    r"(?:\s?(?:±|\+/-|×|x|\*|/|:|'|\^|\()\s?\d+(?:[.,]\d+)?)*\s?[*+'\")]?$"
)


def number_format(
    texts: pa.Array, *, decimal_comma: bool = False, thousands_points: bool = False
) -> Format | None:
    """Finds out how numbers are written: signs, units, thousands and decimals.

    Args:
        texts: Distinct cells, see `Rewriter`.
        decimal_comma: Whether `1,200` is 1.2 rather than 1200, where nothing tells.
        thousands_points: Whether `1.200` is 1200 rather than 1.2, likewise.

    Returns:
        Their format, or `None` if they are no numbers of one kind.
    """
    cells = Rewriter(texts)
    cells.rewrite(r"^(\p{Sc}) ?-$", r"\10", only_if_any=True)  # As accountants do.
    if not cells.all(r"\d|[٠-٩۰-۹०-९０-９]"):
        return None
    if any(cells.any(f"[{zero}-{chr(ord(zero) + 9)}]") for zero in _ZEROS):
        for digit in range(10):
            others = "".join(chr(ord(zero) + digit) for zero in _ZEROS)
            cells.rewrite(f"[{others}]", str(digit))
        cells.rewrite("٫", ".")
        cells.rewrite("٬", ",")
    if not cells.all(r"^[^\d]{0,8}\d"):
        return None
    cells.rewrite("[’´`]", "'", only_if_any=True)
    names = [_currency(cells), _negative(cells), _unit(cells)]
    if None in names:
        return None
    thousands_points = thousands_points or "€" in str(names[0])
    is_undecided = cells.any(r"\.") and cells.all(_MAY_BE_THOUSANDS)
    undecided = texts[_index(cells.texts, r"\.")].as_py() if is_undecided else ""
    is_plain = cells.all(NUMBER) and not (is_undecided and thousands_points)
    style = "" if is_plain else _style(cells, decimal_comma or is_undecided)
    if style is None:
        return None
    names = [name for name in (*names, style) if name]
    name = f"numbers with {' and '.join(names)}" if names else "numbers"
    return Format(name, tuple(cells.rewrites), "", undecided if is_plain else "")


def _currency(cells):
    """The currency that is written before or behind numbers; `None` for several."""
    before = rf"^[(+-]? ?{_CURRENCY} ?[+-]?[(]?[\d.,]"
    behind = rf"[\d.,-] ?{_CURRENCY} ?[)-]?$"
    found = set().union(*cells.parts(before), *cells.parts(behind))
    if not found:
        return ""
    if len(found) > 1:
        return None
    (currency,) = found
    sign = _quoted(currency)
    cells.rewrite(rf"^([(+-]?) ?{sign} ?", r"\1")
    cells.rewrite(rf" ?{sign} ?([)-]?)$", r"\1")
    return repr(currency)


def _negative(cells):
    """Minus signs: parentheses, behind the number, or with a blank."""
    cells.rewrite(r"(\d)[.,]--?$", r"\1", only_if_any=True)  # As in 5.-
    has_parentheses = cells.any(r"^\(.*\)")
    cells.rewrite(r"^\( ?([^()]*?) ?\)( ?[^()\d]*)$", r"-\1\2")
    cells.rewrite(rf"^({_DIGITS}) ?-$", r"-\1", only_if_any=True)
    cells.rewrite(r"^([+-]) ", r"\1", only_if_any=True)
    return "parentheses for minus" if has_parentheses else ""


def _unit(cells):
    """The unit that is written behind all numbers; `None` for several."""
    units = set().union(*cells.parts(_UNIT))
    units -= {unit for unit in units if re.fullmatch(r"[eE][+-]?\d+", unit)}
    if units <= {""}:
        return ""
    first, *others = sorted(units, key=len)
    if first and others in ([], [f"{first}s"]):
        plural = "s?" if others else ""
        cells.rewrite(rf" ?{_quoted(first)}{plural}$", "")
        return repr(first)
    if units - {""} <= set(_MAGNITUDES):
        for unit in sorted(units - {""}):
            cells.rewrite(rf" ?{unit}$", f"e{_MAGNITUDES[unit]}")
        return " and ".join(sorted(map(repr, units - {""})))
    return None


def _index(texts, pattern):
    return pa.compute.index(matches(texts, pattern), True).as_py()


def _style(cells, decimal_comma):
    """Thousands and decimals, rewritten as plain ones; `None` if they are neither."""
    styles = list(_STYLES)
    if decimal_comma:
        styles.append(styles.pop(0))
    for thousands, decimal in styles:
        if cells.all(_pattern(thousands, decimal)):
            is_grouped = cells.any(rf"\d{re.escape(thousands)}\d{{3}}")
            has_decimals = decimal == "," and cells.any(",")
            _rewrite_style(cells, re.escape(thousands), decimal)
            names = [f"thousands {_NAMES[thousands]}"] * is_grouped
            return " and ".join(names + ["decimal commas"] * has_decimals)
    if cells.all(_LAKHS):
        for count in (3, 2, 1):
            groups = r",(\d{2})" * count + r",(\d{3})"
            number = "".join(rf"\{i}" for i in range(1, count + 4))
            cells.rewrite(rf"^([+-]?[1-9]\d?){groups}((?:\.\d*)?)$", number)
        cells.rewrite(r"^([+-]?[1-9]\d?),(\d{3})((?:\.\d*)?)$", r"\1\2\3")
        return "commas of lakhs"
    return None


def _pattern(thousands, decimal):
    t, d = re.escape(thousands), re.escape(decimal)
    grouped = rf"(?:[1-9]\d{{0,2}}(?:{t}\d{{3}})+|0(?:{t}000)+)(?:{d}\d*)?"
    plain = rf"(?:\d+{d}?\d*|{d}\d+)"
    return rf"^[+-]?(?:{grouped}{_MAGNITUDE}|{plain}{_EXPONENT})$"


def _rewrite_style(cells, thousands, decimal):
    # Whole cells only, so that no other cell is taken for such a number.
    tail = rf"((?:{re.escape(decimal)}\d*)?{_MAGNITUDE})$"
    for count in (4, 3, 2, 1):
        groups = rf"{thousands}(\d{{3}})" * count
        number = "".join(rf"\{i}" for i in range(1, count + 3))
        cells.rewrite(rf"^([+-]?[1-9]\d{{0,2}}){groups}{tail}", number)
    cells.rewrite(rf"^([+-]?0)(?:{thousands}000)+$", r"\1", only_if_any=True)
    if decimal == ",":
        cells.rewrite(rf"^([+-]?\d*),(\d*{_EXPONENT})$", r"\1.\2")


def _quoted(text):
    return rf"\Q{text}\E"
