"""Columns of text, codes and what can't be read, as people have them."""

import numpy as np
import pyarrow as pa

from tests.data.fuzz_cells import MISSING, NUM_ROWS, Made

# Names of categories that are easily taken for something else.
_CATEGORIES = {
    "colors": ("red", "blue", "green"),
    "Unicode": ("猫", "é", "ß", "œuf"),
    "punctuation": ("a,b", 'say "x"', "c;d", "it's", "e|f", "tab\there"),
    "line ends": ("one\ntwo", "three", "four"),
    "capitals": ("Yes", "yes", "No"),
    "yes and no": ("yes", "no"),
    "initials": ("S", "M", "L", "XL"),
    "grades": ("A+", "A", "B-", "C"),
    "ages": ("18-24", "25-34", "35-44", "65+"),
    "incomes": ("<$10k", "$10k-$50k", ">$50k"),
    "ratios": ("16:9", "4:3", "21:9"),
    "fractions": ("1/2", "1/4", "3/4"),
    "ordinals": ("1st", "2nd", "3rd"),
    "codes": ("007", "042", "101", "0"),
    "zip codes": ("01234", "94103", "10001"),
    "versions": ("1.2.3", "1.10.0", "2.0.0"),
    "letters and numbers": ("A1", "B2", "C10", "E5"),
    "exponents by chance": ("1e5a", "2e7b", "3f9c"),
    "months": ("Jan", "Feb", "Mar", "May"),
    "days": ("Mon", "Tue", "Sun"),
    "quarters": ("Q1 2020", "Q2 2020", "Q3 2020"),
    "long": ("a" * 300, "b" * 300),
    "one": ("only",),
    "currencies": ("USD", "EUR", "GBP"),
    "signs": ("+", "++", "+++"),
    "sizes": ("10x20", "30x40", "5x5"),
    "hex": ("0x1F", "0xFF", "0x00"),
    "mixed": ("1", "2", "3", "many"),
    "units": ("5 kg", "300 g", "2 t"),
    "censored": ("<5", "7", "8", ">100"),
    "emoji": ("🐱", "🐶"),
    "regular expressions": (".*", "[a]", "a\\1", "(x", "$"),
}
CATEGORY_KINDS = tuple(_CATEGORIES)
# Where a note is due, as most of them are numbers or look like some.
_NOTED = ("codes", "zip codes", "mixed", "units", "capitals")


def categories(random, kind):
    """Text of few kinds."""
    names = _CATEGORIES[kind]
    codes = random.permutation(np.arange(NUM_ROWS) % len(names))
    values = [names[code] for code in codes]
    fate = "noted" if kind in _NOTED else "read"
    cells = [*values]
    if kind == "colors":
        cells = [f" {name}  " if i % 5 == 0 else name for i, name in enumerate(values)]
    return Made(cells, values, pa.array(cells).dictionary_encode(), fate)


def truths(random, kind):
    """Truth values."""
    codes = random.permutation(np.arange(NUM_ROWS) % 2)
    words = _TRUTHS[kind]
    values = codes.astype(float).tolist()
    typed = pa.array(codes if kind == "numbers" else codes == 1)
    return Made([words[code] for code in codes], values, typed)


_TRUTHS = {
    "lower case": ("false", "true"),
    "Python": ("False", "True"),
    "Excel": ("FALSE", "TRUE"),
    "numbers": ("0", "1"),
}
TRUTH_KINDS = tuple(_TRUTHS)


def integers(random, kind):
    """Whole numbers that repeat."""
    low, high = {"small": (-9, 10), "years": (1990, 2020), "ratings": (1, 6)}[kind]
    values = random.integers(low, high, NUM_ROWS)
    values[:2] = values[2]
    cells = list(map(str, values.tolist()))
    return Made(cells, values.astype(float).tolist(), pa.array(values))


INTEGER_KINDS = ("small", "years", "ratings")


def identifiers(random, kind):
    """What tells examples apart, and nothing about them."""
    numbers_ = {
        "index": np.arange(NUM_ROWS),
        "numbers": 100_000 + random.permutation(NUM_ROWS) * 7,
        "text": np.arange(NUM_ROWS),
        "UUIDs": random.integers(0, 2**62, NUM_ROWS),
        "empty": None,
    }[kind]
    if numbers_ is None:
        nothing = [str(random.choice(MISSING)) for _ in range(NUM_ROWS)]
        return Made(nothing, None, pa.nulls(NUM_ROWS), fate="left out")
    form = {"text": "P-{:03}", "UUIDs": "{:016x}-e5"}.get(kind, "{}")
    cells = [form.format(number) for number in numbers_]
    typed = pa.array(numbers_) if form == "{}" else pa.array(cells)
    return Made(cells, None, typed, fate="left out")


IDENTIFIER_KINDS = ("index", "numbers", "text", "UUIDs", "empty")

# Cells that are read in some columns and refused in others.
ODD_CELLS = (
    *("1,234", "1.5", "−3", " 7 ", "1e5", "12/31/2020", "31/12/2020", "2020-02-30"),
    *("2020-01-31", "TRUE", "yes", "", "-", "NaN", "inf", "-inf", "1_000", "٣", "0x1F"),
    *("5 kg", "5kg", "$5", "$ -5", "1 234", "1.234.567,8", "1,234,567.8", "24:00"),
    *(
        "2020-01-31T10:00Z",
        "23:59",
        "11:30 pm",
        "99999999999999999999",
        "1e400",
        "1e39",
    ),
    *("\u200b5", "\ufeff5", ".", "5.", "+", "--5", "(5)", "(5", "5%", "1,5", "1'000"),
    *("1’000", "Jan 31, 2020", "31. Jan 2020", "2020", "20200131", "20200230", "0007"),
    *("1.2k", "3M", "5e", "e5", "５", "1\n2", "5\t", "null", "#REF!", "1,23,456"),
    *("1.23.4", "1\u202f000,5", "€5", "5 €", "EUR 5", "Red", "red", "01/13/99"),
    *("29.02.2021", "2021-02-29", "1970-01-01 25:00", "0001-01-01", "9999-12-31"),
    *("825.106", "€ 1.505", "1,011 kg", "20200131T060000Z", "712B", "1.0", "2020.0"),
    *("1/1/0000", "\xa0", "T", "False ", "5,-", "-0", "−5 %", "1e-400", "1,235e+06"),
)


def problems(random, kind):
    """What can't be read, or only in a way that is said."""
    values = np.round(random.normal(0, 50, NUM_ROWS), 2)
    cells = [str(value) for value in values]
    fate = "noticed"
    if kind == "mistake":
        cells[17] = "abc"
    elif kind == "two numbers":
        cells = [f"{120 + i % 7}/{60 + i % 5}" for i in range(NUM_ROWS)]
    elif kind == "versions":
        cells = [f"1.{2 + i % 3}.{10 + i % 2}" for i in range(NUM_ROWS)]
    elif kind == "two units":
        cells = [f"{abs(v)} {'kg' if i % 2 else 'lb'}" for i, v in enumerate(values)]
    elif kind == "two currencies":
        cells = [f"{'$' if i % 2 else '€'}{abs(v)}" for i, v in enumerate(values)]
    elif kind == "two decimals":
        cells = [c.replace(".", ",") if i % 2 else c for i, c in enumerate(cells)]
    elif kind == "infinite":
        cells[9], fate = str(random.choice(["inf", "-Infinity", "1e39"])), "refused"
    elif kind == "ambiguous dates":
        cells = [f"{1 + i % 12:02}/{1 + i % 7:02}/2020" for i in range(NUM_ROWS)]
    elif kind == "two orders":
        cells = [f"{20 + i % 5}/{1 + i % 9}/2020" for i in range(NUM_ROWS)]
        cells[::2] = [f"{1 + i % 9}/{20 + i % 5}/2020" for i in range(NUM_ROWS // 2)]
    elif kind == "no such day":
        cells = [f"2020-0{1 + i % 4}-{10 + i % 19}" for i in range(NUM_ROWS)]
        cells[3] = "2020-02-30"
    elif kind == "unit below the header":
        cells[0] = "kg"
    elif kind == "thousands or decimals":
        cells = [f"{1 + i},{abs(v) * 100 % 1000:03.0f}" for i, v in enumerate(values)]
    elif kind == "percent and fractions":
        cells = [
            f"{v}%" if i % 2 else c
            for i, (v, c) in enumerate(zip(values, cells, strict=True))
        ]
    elif kind == "coordinates":
        cells = [f"{abs(v)}{'NS'[i % 2]}" for i, v in enumerate(values)]
    elif kind == "results":
        cells = [f"{i % 7}-{i % 5}" for i in range(NUM_ROWS)]
    elif kind == "hours beyond a day":
        cells = [f"{20 + i}:{i % 60:02}" for i in range(NUM_ROWS)]
    elif kind == "thousands and decimals":  # Of two countries.
        cells = [
            f"{1 + i}.234,5" if i % 2 else f"{1 + i},234.5" for i in range(NUM_ROWS)
        ]
    elif kind == "footnotes":
        cells = [f"{c}*" if i % 9 == 0 else c for i, c in enumerate(cells)]
    elif kind == "bounds":
        cells = [f"<{c}" if i % 9 == 0 else c for i, c in enumerate(cells)]
    return Made(cells, None, fate=fate)


PROBLEM_KINDS = (
    *("mistake", "two numbers", "two units", "two currencies", "two decimals"),
    "versions",
    *("infinite", "ambiguous dates", "two orders", "no such day"),
    *("unit below the header", "footnotes", "bounds", "thousands or decimals"),
    *("percent and fractions", "coordinates", "results", "hours beyond a day"),
    "thousands and decimals",
)
