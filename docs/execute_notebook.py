"""Run the notebook from its beginning and store its outputs: `python docs/execute_notebook.py`."""

import os
import pathlib
import tempfile

import nbclient
import nbformat
from traitlets.config import Config

NOTEBOOK = pathlib.Path(__file__).parent / "tutorials" / "gradient-checking.ipynb"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def execute(notebook):
    """Run all cells in a fresh kernel; keep sources and outputs, and nothing of the machine."""
    client = nbclient.NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=["--HistoryManager.enabled=False"],
        config=Config({"KernelManager": {"transport": "ipc"}}),
    )
    with tempfile.TemporaryDirectory() as folder:
        # One thread: more would wait for each other on small arrays, where others use the machine.
        client.execute(env={**os.environ, "IPYTHONDIR": folder, "OMP_NUM_THREADS": "1"})
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({})
    return notebook


def main():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.write(execute(notebook), NOTEBOOK)


if __name__ == "__main__":
    main()
