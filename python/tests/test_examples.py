"""The examples run, print the expected text, and make the same pictures as the Rust examples, byte for byte."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import dreamframe

from conftest import ROOT, gradient

EXAMPLES = ROOT / "examples" / "python"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Creates an image file of another size than the stream's."""
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
    """Returns the path of the Rust example of that name, which `cargo test --workspace` builds."""
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


def test_hello_makes_the_same_picture_as_the_rust_example(source: Path, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "python.png", tmp_path / "rust.png"
    example("hello.py", source, ours, "blueprint")
    run(rust("hello"), source, theirs, "blueprint")
    same(ours, theirs)


@pytest.mark.only_full
def test_hot_swap_makes_the_same_pictures_as_the_rust_example(source: Path, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "python", tmp_path / "rust"
    told = example("hot_swap.py", source, ours)
    assert "recompute" in told
    run(rust("hot_swap"), source, theirs)
    assert sorted(path.name for path in ours.iterdir()) == ["0.png", "1.png", "2.png"]
    for path in ours.iterdir():
        same(path, theirs / path.name)


def test_session_writes_a_contact_sheet_of_different_pictures(tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    told = example("session.py", sheet, "3")
    assert "computed" in told
    pixels = np.asarray(Image.open(sheet))
    assert pixels.shape == (512, 1024, 3)
    pictures = [pixels[256:, 256 * column : 256 * (column + 1)] for column in range(4)]
    assert all(not np.array_equal(picture, pictures[0]) for picture in pictures[1:])


def test_serve_applies_typed_prompts_to_published_frames() -> None:
    command = [sys.executable, "-I", str(EXAMPLES / "serve.py"), "127.0.0.1:0"]
    frame = gradient(512)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            whip, whep = (server.stdout.readline().split()[-1] for _ in range(2))
            with dreamframe.publish(whip) as publisher, dreamframe.play(whep) as player:
                before = restyled(publisher, player, frame, np.zeros_like(frame))
                server.stdin.write("blueprint\n")
                server.stdin.flush()
                restyled(publisher, player, frame, before)
                rest, _ = server.communicate()
        finally:
            server.kill()
    assert (server.returncode, rest) == (0, "")


def restyled(publisher: dreamframe.Publisher, player: dreamframe.Player, frame: Any, before: Any) -> dreamframe.Frame:
    """Returns the first picture of `frame` that differs from the one before."""
    for _ in range(600):
        publisher.show(frame)
        picture = player.next(0.1)
        if picture is not None and picture[..., :3].std() > 20 and abs(picture.astype(int) - before).mean() > 8:
            return picture
    raise AssertionError(f"no such picture came: {publisher!r}, {player!r}")


@pytest.mark.parametrize(("name", "given"), [("hello.py", 0), ("hot_swap.py", 0), ("session.py", 0), ("serve.py", 2)])
def test_wrong_usage_prints_an_error(name: str, given: int) -> None:
    done = subprocess.run([sys.executable, "-I", EXAMPLES / name, *["-"] * given], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"usage: {name}")
