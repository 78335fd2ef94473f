"""Measures what a call from Python costs over the engine's own time, for 512x512.

    python python/tests/bench_overhead.py

The engine times each frame itself (`picture.timings["frame"]`); what a call takes beyond that is Python's: reading the
frame, letting the GIL go and taking it back, making the array. Times of a machine that does other things say little, so
the median and the least are told. With `skip_diffusion` a frame is quick, and the overhead shows best.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from dreamframe import Picture, StreamDiffusion, StreamDiffusionParams

FRAMES = 100


def measure(call: Callable[[], Picture]) -> list[float]:
    """Microseconds that each call took beyond the engine's own time."""
    beyond: list[float] = []
    for _ in range(FRAMES):
        start = time.perf_counter_ns()
        picture = call()
        took = (time.perf_counter_ns() - start) / 1000
        beyond.append(took - picture.timings["frame"])
    return beyond


def main() -> None:
    """Prints a line for each form of frame."""
    rgba = np.zeros((512, 512, 4), np.uint8)
    forms: dict[str, Any] = {
        "uint8 RGBA": rgba,
        "uint8 RGB": np.ascontiguousarray(rgba[..., :3]),
        "memoryview": memoryview(rgba),
        "part of a larger frame": np.zeros((600, 700, 4), np.uint8)[10:522, 20:532],
        "flipped (one copy)": rgba[:, ::-1],
    }
    params = StreamDiffusionParams.demo().model_copy(update={"skip_diffusion": True})
    with StreamDiffusion(params, threads=1) as stream:
        for name, frame in forms.items():
            beyond = measure(lambda frame=frame: stream(frame))
            print(f"{name:24} median {statistics.median(beyond):7.1f} us, least {min(beyond):7.1f} us")


if __name__ == "__main__":
    main()
