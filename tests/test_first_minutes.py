"""A user's first ten minutes: the README's code, a script, standard input and a notebook."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from factories import write_method

README = (Path(__file__).resolve().parent.parent / "README.md").read_text()
PYTHON = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
BLOCKS = [block for block in PYTHON if block.startswith(("import ", "from "))]
"""all but the file of a method, which another test runs"""
CALL = """
import ddbench

records = ddbench.evaluate({"methods": ["random_real"], "ipc": 1, "budget": "5s"})
print(records[0])
"""
SAID = "Record(random_real on digits, ipc 1, seed 0: ok, "


def run(folder: Path, *arguments: str, text: str | None = None) -> str:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow  # networks as wide as a reader's first; `.ci/run` carries it out beside the default run
@pytest.mark.timeout(900)
@pytest.mark.parametrize("block", BLOCKS, ids=[str(number) for number in range(len(BLOCKS))])
def test_the_code_of_the_readme_runs_as_it_stands(block: str, tmp_path: Path) -> None:
    (tmp_path / "block.py").write_text(block)
    run(tmp_path, "block.py")


def test_the_readme_has_code_to_run() -> None:
    assert any("ddbench.distill(" in block for block in BLOCKS)


@pytest.mark.slow  # the README's code is a script too; `.ci/run` carries both out beside the default run
def test_a_board_runs_from_a_script(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(CALL)
    assert run(tmp_path, "script.py").startswith(SAID)
    assert (tmp_path / "runs" / "mine" / "leaderboard.md").is_file()


@pytest.mark.slow  # a notebook has no file either; `.ci/run` carries it out beside the default run
def test_a_board_runs_from_standard_input(tmp_path: Path) -> None:
    """The method imports what lies beside it."""
    (tmp_path / "beside.py").write_text("")
    method = Path(write_method(tmp_path, "mine"))
    method.write_text(f"import beside\n{method.read_text()}")
    said = run(tmp_path, "-", text=CALL.replace("random_real", "mine.py"))
    assert said.startswith("Record(mine on digits, ipc 1, seed 0: ok, ")


@pytest.mark.slow  # a kernel and two commands; `.ci/run` carries it out beside the default run
def test_a_notebook_runs_a_board_and_shows_an_artefact(tmp_path: Path) -> None:
    cells = [
        CALL,
        "records[0]",
        'ddbench.distill("random_real", "digits", "set.safetensors", network="convnet,depth=1,width=8", budget="5s")\n'
        'ddbench.load("set.safetensors")',
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    shown = [cell.outputs[-1] for cell in notebook.cells]
    assert shown[0].text.startswith(SAID)
    assert shown[1].data["text/plain"].startswith(SAID)
    assert shown[2].data["text/plain"].startswith("10 images of digits by random_real (pixels, 2.6 kB)")
    assert "<td>random_real</td>" in shown[1].data["text/html"]
    assert "data:image/png;base64," in shown[2].data["text/html"]
