"""Tests of how a measurement gets into the log."""

import datetime
import sys

from benchmarks.log import append_entry, commit, machine, markdown_table, report

TABLE = markdown_table([("", "images/s"), ("ours", "12.5"), ("ceiling", "1,000.0")])
HEADER = "# Log\n\nAn entry:\n\n    ## YYYY-MM-DD: the question\n\n"
OLDER = "## 2026-11-21: an older question?\n\n- Command: `true`\n"


def test_a_table_is_aligned_and_is_markdown():
    assert TABLE.splitlines() == [
        "|         | images/s |",
        "|:--------|---------:|",
        "| ours    |     12.5 |",
        "| ceiling |  1,000.0 |",
    ]


def test_the_newest_entry_stands_first_below_the_header(tmp_path):
    path = tmp_path / "LOG.md"
    path.write_text(HEADER + OLDER)
    setting = "2 cores, " * 30
    append_entry(path, "how fast?", "python -m benchmarks.step", setting, TABLE)
    text = path.read_text()
    assert text.startswith(HEADER + f"## {datetime.date.today()}: how fast?\n\n")
    assert text.endswith(f"\n\n{OLDER}")
    entry = text.removeprefix(HEADER).removesuffix(OLDER)
    assert "- Command: `python -m benchmarks.step`\n- Setting: 2 cores" in entry
    assert "- Result:\n\n  |         | images/s |\n" in entry
    assert "\n- Conclusion: " in entry
    assert max(map(len, entry.splitlines())) <= 90


def test_a_log_without_entries_gets_its_first(tmp_path):
    path = tmp_path / "LOG.md"
    path.write_text(HEADER)
    append_entry(path, "one?", "true", "here", TABLE)
    append_entry(path, "two?", "true", "here", TABLE)
    text = path.read_text()
    assert text.startswith(HEADER)
    assert 0 < text.index(": two?") < text.index(": one?")


def test_a_report_is_printed_and_logged_only_where_asked(tmp_path, monkeypatch, capsys):
    path = tmp_path / "LOG.md"
    path.write_text(HEADER)
    words = ["log", "flags/a.flags", "--data_dir", str(tmp_path), f"--log={path}"]
    monkeypatch.setattr(sys, "argv", words)
    report(None, "step", "how fast?", "here", TABLE)
    assert capsys.readouterr().out == f"here\n{TABLE}\n"
    assert path.read_text() == HEADER
    report(path, "step", "how fast?", "here", TABLE)
    command = "python -m benchmarks.step flags/a.flags --data_dir PATH --log=PATH"
    assert f"- Command: `{command}`\n" in path.read_text()


def test_hardware_and_commit_are_named():
    assert "cores of " in machine()
    assert commit()
