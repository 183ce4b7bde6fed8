"""
The tutorial says what k8strace says today.

After a change that the tutorial shows, store its outputs again and read them before committing:

    .venv/bin/python tests/test_tutorial.py
"""

import re
import tempfile
from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient", reason="nbclient runs the tutorial")
Config = pytest.importorskip("traitlets.config").Config
nbformat = pytest.importorskip("nbformat", reason="nbformat reads the tutorial")
for frames in ("polars", "pandas", "pyarrow"):
    pytest.importorskip(frames, reason=f"the tutorial hands tables over to {frames}")

ROOT = Path(__file__).parent.parent
TUTORIAL = ROOT / "docs" / "tutorial.ipynb"

OURS = '<div class="k8strace'


def stored():
    return nbformat.read(TUTORIAL, as_version=4)


def execute(notebook):
    """Run all cells as a reader does who starts Jupyter beside the notebook."""
    folder = {"metadata": {"path": str(TUTORIAL.parent)}}
    with tempfile.TemporaryDirectory() as sockets:  # in place of ports
        settings = {"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}}
        client = nbclient.NotebookClient(
            notebook, kernel_name="python3", config=Config(settings), timeout=120, resources=folder
        )
        return client.execute()


def shown(notebook):
    """What each code cell prints and shows as text, and as HTML where it is ours."""
    return [(cell.source, list(_outputs(cell))) for cell in notebook.cells if cell.cell_type == "code"]


def _outputs(cell):
    for output in cell.outputs:
        if output.output_type == "stream":
            yield output.text
            continue
        data = output.get("data", {})
        yield re.sub(r"\b0x[0-9a-f]+", "0x…", data.get("text/plain", output.output_type))
        if data.get("text/html", "").startswith(OURS):
            yield data["text/html"]


def clean(notebook):
    """Without what differs from run to run and from machine to machine."""
    for number, cell in enumerate(notebook.cells):
        cell.metadata = {}
        cell.id = f"cell-{number}"
    for number, cell in enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), start=1):
        cell.execution_count = number
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = number
            output.get("data", {}).pop(
                "application/vnd.jupyter.widget-view+json", None
            )  # its id is new each time
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return nbformat.from_dict(notebook)


@pytest.mark.slow
def test_the_tutorial_shows_what_its_cells_say():
    """Executed again, every cell gives the text and the pictures that are stored."""
    assert shown(execute(stored())) == shown(stored())


def test_every_cell_shows_or_sets_something_and_none_fails():
    """A stored traceback or warning would be the tutorial's fault."""
    outputs = [output for cell in stored().cells for output in cell.get("outputs", [])]
    assert outputs
    assert [output for output in outputs if output.output_type == "error"] == []
    assert [output for output in outputs if output.get("name") == "stderr"] == []


def test_the_tutorial_names_no_machine():
    """No absolute paths, no object addresses, no time stamps of the run: readers' diffs stay empty."""
    text = TUTORIAL.read_text()
    assert re.findall(r"/(?:home|root|tmp|work|usr|Users)/[\w.]+", text) == []
    assert re.findall(r"\bat 0x[0-9a-f]+", text) == []
    assert "iopub" not in text


def test_prose_has_one_sentence_per_line():
    """A full stop inside a line of prose is a sentence that wants its own line."""
    lines = [
        line for cell in stored().cells if cell.cell_type == "markdown" for line in cell.source.splitlines()
    ]
    assert [line for line in lines if re.search(r"[.!?] +[A-Z]", line)] == []


if __name__ == "__main__":
    nbformat.write(clean(execute(stored())), TUTORIAL)
