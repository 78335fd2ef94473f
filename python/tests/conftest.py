"""Common fixtures: a small stream of the demo model, and frames for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dreamframe import StreamDiffusion, StreamDiffusionParams

ROOT = Path(__file__).resolve().parents[2]
SIDE = 64


def pytest_configure(config: pytest.Config) -> None:
    """Declares the marker of tests that `cargo xtask test` leaves out, and `cargo xtask test --full` runs."""
    config.addinivalue_line("markers", "only_full: takes long; run by `cargo xtask test --full` alone")


def small_stream(side: int = SIDE, *, threads: int = 2, output: Any = "rgba", **changes: Any) -> StreamDiffusion:
    """A stream of the demo model for small pictures."""
    params = StreamDiffusionParams.demo().model_copy(update={"width": side, "height": side, **changes})
    return StreamDiffusion(params, threads=threads, output=output)


def gradient(side: int = SIDE, channels: int = 4) -> NDArray[np.uint8]:
    """Returns a frame whose pixels all differ from their neighbours, so that a swapped axis or channel is detected."""
    y, x = np.mgrid[0:side, 0:side]
    planes = [x * 255 // side, y * 255 // side, (x * 3 + y * 5) % 256, np.full_like(x, 255)]
    return np.ascontiguousarray(np.stack(planes[:channels], axis=-1).astype(np.uint8))


@pytest.fixture
def stream() -> Iterator[StreamDiffusion]:
    with small_stream() as made:
        yield made


@pytest.fixture
def frame() -> NDArray[np.uint8]:
    return gradient()
