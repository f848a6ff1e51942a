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
        undecided: A cell that can be read in two ways, if that goes for all cells:
            its point or comma may be of thousands or of decimals, or its first number
            may be a day or a month (then there is a problem as well).
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
# Digits are exponents or follow what is divided by: m2, s-1, l/100km, out of 5.
_UNIT_NAME = r"(?:\D|(?:/|per |of )\d+|(?<=[^\d\sx×])\d(?!\d))*"
_MAGNITUDES = {"k": 3, "K": 3, "M": 6, "mn": 6, "Mn": 6, "mio": 6, "Mio": 6}
_MAGNITUDES |= {"B": 9, "bn": 9, "Bn": 9, "T": 12}
_EXPONENT = r"(?:[eE][+-]?\d+)?"
# Beside exponents as people write them, no thousands are separated: 1,235e+06.
_MAGNITUDE = "(?:e(?:3|6|9|12))?"
# Zeros of other scripts; the other digits follow them.
_ZEROS = "٠۰०０"
# Thousands and decimals, in the order that they are tried.
_STYLES = ((",", "."), (".", ","), (" ", ","), ("'", ","), (" ", "."), ("'", "."))
_BEFORE = r"^(?:\D*[^\d.,])?"
# A number whose point or comma may be of thousands or of decimals: not 0.125, 1234.5.
AMBIGUOUS = _BEFORE + r"(?:[1-9]\d{0,2}[.,]\d{3}|0,000)(?:[eE][^-+\d].*|[^\d.,eE].*)?$"
# One that has none, and is no longer than those in front of them.
SHORT = _BEFORE + r"\d{1,3}(?:[^\d.,][^.,]*)?$"
_WHOLE = SHORT.replace("{1,3}", "+")
# What no number is, in place of one that training gives no way to read.
DOUBT = " (of thousands or of decimals?)"
ADDRESS = r"^(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?:25[0-5]|2[0-4]\d|1?\d?\d)){3}$"
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


def number_format(texts: pa.Array, decimal: str = "") -> Format | None:
    """Finds out how numbers are written: signs, units, thousands and decimals.

    Args:
        texts: Distinct cells, see `Rewriter`.
        decimal: The sign of decimals, `","` or `"."`, where nothing else tells. Without
            it `1,200` is 1200 and `1.200` is 1.2, or 1200 in euros.

    Returns:
        Their format, or `None` if they are no numbers of one kind.
    """
    cells = Rewriter(texts)
    cells.rewrite(r"^(\p{Sc}) ?-$", r"\10", only_if_any=True)  # As accountants do.
    if not cells.all(r"\d|[٠-٩۰-۹०-９０-９]"):
        return None
    if any(cells.any(f"[{zero}-{chr(ord(zero) + 9)}]") for zero in _ZEROS):
        for digit in range(10):
            others = "".join(chr(ord(zero) + digit) for zero in _ZEROS)
            cells.rewrite(f"[{others}]", str(digit))
        cells.rewrite("٫", ".")
        cells.rewrite("٬", ",")
    if not cells.all(r"^[^\d]{0,8}\d") or cells.all(ADDRESS):
        return None
    cells.rewrite("[’´`]", "'", only_if_any=True)
    row = undecided_row(cells.texts)
    undecided = "" if row < 0 else texts[row].as_py()
    currency = _currency(cells)
    names = [currency, _negative(cells, currency), _unit(cells, currency)]
    if None in names:
        return None
    is_told = bool(decimal) or not undecided
    if not is_told and cells.any(r"\.") and cells.any(","):
        problem = f"points and commas, either of thousands, such as {undecided!r},"
        return Format("", problem=problem, undecided=undecided)
    if not decimal:
        decimal = "," if "." in undecided and "€" in currency else "."
    if cells.all(NUMBER) and not (undecided and decimal == ","):
        if "€" in currency and not cells.any(r"\."):
            _refuse_ambiguous(cells)
    elif (style := _style(cells, decimal == ",")) is not None:
        names.append(style)
    else:
        return None
    name = " and ".join(name for name in names if name)
    name = f"numbers with {name}" if name else "numbers"
    return Format(name, tuple(cells.rewrites), "", "" if is_told else undecided)


def undecided_row(texts: pa.Array | pa.ChunkedArray) -> int:
    """The first number whose point or comma may be of thousands; -1 if any is not."""
    row = _index(texts, AMBIGUOUS)
    if row >= 0:
        others = SHORT if _index(texts, r"\.") >= 0 else _WHOLE
        if _index(texts, f"{AMBIGUOUS}|{others}", False) >= 0:
            return -1
    return row


def _refuse_ambiguous(cells):
    """Leaves numbers out with a sign that may be of thousands, if no cell has it."""
    for sign in ("[,]", "[.]"):
        if not cells.any(sign):
            number = rf"[+-]?[1-9]\d{{0,2}}{sign}\d{{3}}{_MAGNITUDE}"
            cells.rewrite(f"^({number})$", rf"\1{DOUBT}")


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


def _negative(cells, currency):
    """Minus signs: parentheses of some numbers, behind the number, or with a blank."""
    cells.rewrite(r"(\d)[.,]--?$", r"\1", only_if_any=True)  # As in 5.-
    which = "for minus" if cells.any(r"^\(.*\)") else ""
    if not currency and cells.all(r"^\([^()-]*\)"):
        which = "around all"
    minus = "" if which == "around all" else "-"
    cells.rewrite(r"^\( ?([^()]*?) ?\)( ?[^()\d]*)$", rf"{minus}\1\2")
    cells.rewrite(rf"^({_DIGITS}) ?-$", r"-\1", only_if_any=True)
    cells.rewrite(r"^([+-]) ", r"\1", only_if_any=True)
    return which and f"parentheses {which}"


def _unit(cells, currency):
    """The unit that is written behind all numbers; `None` for several."""
    units = set().union(*cells.parts(_UNIT))
    units -= {unit for unit in units if re.fullmatch(r"[eE][+-]?\d+", unit)}
    if units <= {""}:
        return ""
    first, *others = sorted(units, key=len)
    if first and others in ([], [f"{first}s"]):
        if not re.fullmatch(_UNIT_NAME, first) or len(first.split()) > 3:
            return None
        plural = "s?" if others else ""
        cells.rewrite(rf" ?{_quoted(first)}{plural}$", "")
        return repr(first)
    if not units - {""} <= set(_MAGNITUDES):
        return None
    for unit in sorted(units - {""}):
        # Bytes, or parts of a house.
        if unit in "BT" and not (currency or cells.any(rf"[.,]\d+ ?{unit}$")):
            return None
        cells.rewrite(rf" ?{unit}$", f"e{_MAGNITUDES[unit]}")
    return " and ".join(sorted(map(repr, units - {""})))


def _index(texts, pattern, found=True):
    return pa.compute.index(matches(texts, pattern), found).as_py()


def _style(cells, decimal_comma):
    """Thousands and decimals, rewritten as plain ones; `None` if they are neither."""
    styles = list(_STYLES)
    if decimal_comma:
        styles.append(styles.pop(0))
    for thousands, decimal in styles:
        if cells.all(_pattern(thousands, decimal)):
            is_grouped = cells.any(rf"\d{re.escape(thousands)}\d{{3}}")
            has_decimals = decimal == "," and cells.any(",")
            _rewrite_style(cells, thousands, decimal, has_decimals)
            names = [f"thousands {_NAMES[thousands]}"] * is_grouped
            return " and ".join(names + ["decimal commas"] * has_decimals)
    if cells.all(_LAKHS):
        _refuse_ambiguous(cells)
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


def _rewrite_style(cells, thousands, decimal, has_decimals):
    # Whole cells only, so that no other cell is taken for such a number.
    tail = rf"((?:{re.escape(decimal)}\d*)?{_MAGNITUDE})$"
    has_points = thousands != "." and not has_decimals
    _refuse_ambiguous(cells)
    thousands = re.escape(thousands)
    for count in (4, 3, 2, 1):
        groups = rf"{thousands}(\d{{3}})" * count
        number = "".join(rf"\{i}" for i in range(1, count + 3))
        cells.rewrite(rf"^([+-]?[1-9]\d{{0,2}}){groups}{tail}", number)
    cells.rewrite(rf"^([+-]?0)(?:{thousands}000)+$", r"\1", only_if_any=True)
    if decimal == ",":
        if not has_points:
            cells.rewrite(r"^([^ ]*\.[^ ]*)$", rf"\1{DOUBT}")
        cells.rewrite(rf"^([+-]?\d*),(\d*{_EXPONENT})$", r"\1.\2")


def _quoted(text):
    return rf"\Q{text}\E"
