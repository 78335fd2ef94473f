"""Measures the overhead of a call from Python for 512x512, and the throughput of two concurrent streams.

    python python/tests/bench_overhead.py

The engine times each frame itself (`picture.timings["frame"]`); the rest of a call is the overhead of Python: reading
the frame, releasing and acquiring the GIL, creating the array. Times on a busy machine vary, so the median and the
minimum are printed. With `skip_diffusion` a frame is quick, which makes the overhead visible.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from dreamframe import Picture, StreamDiffusion, StreamDiffusionParams

FRAMES = 100


def measure(call: Callable[[], Picture]) -> list[float]:
    """Returns the microseconds that each call took beyond the engine's own time."""
    beyond: list[float] = []
    for _ in range(FRAMES):
        start = time.perf_counter_ns()
        picture = call()
        took = (time.perf_counter_ns() - start) / 1000
        beyond.append(took - picture.timings["frame"])
    return beyond


def two_against_one() -> float:
    """Returns the time of two streams on two threads relative to one stream; 2 if they never overlap."""

    def seconds(streams: list[StreamDiffusion]) -> float:
        threads = [threading.Thread(target=lambda one=one: [one(frame) for _ in range(6)]) for one in streams]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - start

    frame = np.zeros((128, 128, 4), np.uint8)
    params = StreamDiffusionParams.demo().model_copy(update={"width": 128, "height": 128})
    with (
        StreamDiffusion(params, threads=1) as one,
        StreamDiffusion(params, threads=1) as two,
    ):
        seconds([one, two])
        rounds = [(seconds([one, two]), seconds([one])) for _ in range(20)]
    both, single = zip(*rounds, strict=True)
    return statistics.median(both) / statistics.median(single)


def main() -> None:
    """Prints a line for each form of frame, and one for two streams."""
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
    processors = len(os.sched_getaffinity(0))
    print(f"{'two streams':24} {two_against_one():.2f} times as long as one, on {processors} processors")


if __name__ == "__main__":
    main()
