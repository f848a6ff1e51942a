"""The mode `report`: runs compared on one page."""

import pathlib

from vicreg_keras.modes.options import ReportOptions
from vicreg_keras.report.page import build_report
from vicreg_keras.workdir.run_folder import RunFolder


def run(options: ReportOptions) -> None:
    """Writes the page.

    Args:
        options: Which runs, and where the page goes; `report.html` by default.

    Raises:
        InputError: If a folder holds no run.
    """
    path = pathlib.Path(options.output or "report.html")
    build_report([RunFolder(folder) for folder in options.runs], path)
    print(f"The report, to be opened in a browser: {path}")
