"""Lines of code are counted without blanks, comments and docstrings."""

from benchmarks import code_size

TEXT = '''"""A module."""

# A comment.
NUMBERS = [
    1,

    2,
]


def double(x):
    """Returns twice x.

    Args:
        x: A number.
    """
    # Why.
    y = 2 * x
    return y  # here
'''


def test_code_lines_and_longest_function(tmp_path):
    (tmp_path / "a.py").write_text(TEXT)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c.py").write_text('x = """text\n\nof three lines"""\n')
    assert code_size.table_lines(tmp_path)[1:] == [
        ("a.py", "1", "7", "2 (double)"),
        ("b", "1", "3", "-"),
        ("2 entries", "2", "10", "2 (double)"),
    ]
