"""Runs the notebooks from top to bottom, and keeps what they show: `make notebooks`."""

import os
import pathlib
import subprocess
import tempfile

import nbformat
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from traitlets import default

FOLDER = pathlib.Path(__file__).resolve().parent
# In the order in which they are read: each uses what the one before it left.
NOTEBOOKS = (FOLDER / "pretrain.ipynb", FOLDER / "linear_evaluation.ipynb")


class OwnKernel(AsyncKernelManager):
    """A kernel of this interpreter, whatever kernels the machine knows."""

    @default("kernel_spec_manager")
    def _without_folders(self):
        return KernelSpecManager(parent=self, kernel_dirs=[])


def main() -> None:
    """Runs both notebooks in a new folder, and writes them back with their outputs."""
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder, "notebooks")
        place.mkdir()
        for path in NOTEBOOKS:
            print(f"Running {path.name}...", flush=True)
            nbformat.write(execute(path, place), path)


def execute(
    path: pathlib.Path, folder: pathlib.Path, parameters: str = ""
) -> nbformat.NotebookNode:
    """The notebook with the outputs of a run by this very Python.

    Args:
        path: of the notebook, which is left as it is.
        folder: where it runs; it leaves its files beside it, in `../runs`.
        parameters: lines of code, added to the cell that is tagged `parameters`.

    Raises:
        nbclient.exceptions.CellExecutionError: if a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    metadata = notebook.metadata.copy()
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", ()) and parameters:
            cell.source += f"\n{parameters}"
    client = NotebookClient(
        notebook,
        kernel_manager_class=OwnKernel,
        record_timing=False,
        coalesce_streams=True,
        # What C++ writes as TensorFlow starts is no output of a cell.
        extra_arguments=["--IPKernelApp.capture_fd_output=False"],
        resources={"metadata": {"path": str(folder)}},
    )
    # This checkout's package, installed or not.
    places = [str(FOLDER.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places)}
    client.execute(env=environment, stderr=subprocess.DEVNULL)
    notebook.metadata = metadata  # Without the version of this Python.
    return notebook


if __name__ == "__main__":
    main()
