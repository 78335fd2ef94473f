"""The notebook runs from first cell to last, and its outputs are saved."""

from __future__ import annotations

import copy
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from conftest import ROOT

PATH = ROOT / "examples" / "notebook" / "dreamframe.ipynb"


@pytest.fixture(scope="module")
def notebook() -> Any:
    return nbformat.read(PATH, as_version=4)


def pictures(notebook: Any) -> list[str]:
    """Returns the pictures of all cells, as base64."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    kinds = ("image/png", "image/jpeg")
    return [output["data"][kind] for output in outputs for kind in kinds if kind in output.get("data", {})]


@pytest.mark.only_full
def test_notebook_shows_as_many_pictures_as_it_contains(notebook: Any) -> None:
    fresh = copy.deepcopy(notebook)
    for cell in fresh.cells:
        cell.pop("outputs", None)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    NotebookClient(fresh, timeout=120, resources={"metadata": {"path": str(PATH.parent)}}).execute()
    assert len(pictures(fresh)) == len(pictures(notebook))
    errors = [output for cell in fresh.cells for output in cell.get("outputs", []) if output.output_type == "stderr"]
    assert errors == []


def test_notebook_is_small_and_contains_pictures(notebook: Any) -> None:
    assert len(notebook.cells) <= 18
    assert len(pictures(notebook)) >= 4
    assert PATH.stat().st_size < 1_000_000


def test_every_code_cell_was_run_in_order(notebook: Any) -> None:
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
