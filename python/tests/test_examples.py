"""The examples run, write what they say, and make the same pictures as the Rust ones, to the byte."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import ROOT

EXAMPLES = ROOT / "examples" / "python"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A picture file of another size than the stream's."""
    y, x = np.mgrid[0:360, 0:480]
    pixels = np.stack([x * 255 // 480, y * 255 // 360, (x * 7 + y * 3) % 256], axis=-1).astype(np.uint8)
    path = tmp_path / "in.png"
    Image.fromarray(pixels).save(path)
    return path


def run(*command: str | Path) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr


def example(name: str, *arguments: str | Path) -> str:
    return run(sys.executable, "-I", EXAMPLES / name, *arguments)


def rust(name: str) -> Path:
    """The Rust example of that name, which `cargo test --workspace` builds."""
    suffix = ".exe" if os.name == "nt" else ""
    given = os.environ.get("DREAMFRAME_RUST_EXAMPLES")
    path = Path(given or ROOT / "target" / "debug") / f"{name}{suffix}"
    if not path.exists() and given is None:
        pytest.skip(f"no {path}: `cargo test --workspace --no-run` builds it")
    return path


def same(one: Path, other: Path) -> None:
    first, second = (np.asarray(Image.open(path).convert("RGB")) for path in (one, other))
    assert first.shape == second.shape
    assert np.array_equal(first, second)
    assert first.std() > 10, "there is something to see"


def test_hello_makes_the_picture_that_the_rust_example_makes(source: Path, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "python.png", tmp_path / "rust.png"
    example("hello.py", source, ours, "blueprint")
    run(rust("hello"), source, theirs, "blueprint")
    same(ours, theirs)


def test_hot_swap_makes_the_pictures_that_the_rust_example_makes(source: Path, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "python", tmp_path / "rust"
    told = example("hot_swap.py", source, ours)
    assert "recompute" in told
    run(rust("hot_swap"), source, theirs)
    assert sorted(path.name for path in ours.iterdir()) == ["0.png", "1.png", "2.png"]
    for path in ours.iterdir():
        same(path, theirs / path.name)


def test_session_writes_a_sheet_of_pictures_that_differ(tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    told = example("session.py", sheet, "3")
    assert "computed" in told
    pixels = np.asarray(Image.open(sheet))
    assert pixels.shape == (512, 1024, 3)
    pictures = [pixels[256:, 256 * column : 256 * (column + 1)] for column in range(4)]
    assert all(not np.array_equal(picture, pictures[0]) for picture in pictures[1:])


@pytest.mark.parametrize("name", ["hello.py", "hot_swap.py", "session.py"])
def test_wrong_usage_is_told(name: str) -> None:
    done = subprocess.run([sys.executable, "-I", EXAMPLES / name], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"usage: {name}")
