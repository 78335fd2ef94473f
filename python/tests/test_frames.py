"""Frames in every form that Python has for pixels: which are accepted, how they are read, and which are rejected."""

from __future__ import annotations

import array
import gc
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dreamframe import InvalidFrameError, Picture, StreamDiffusion

from conftest import SIDE, gradient, small_stream

Pixels = NDArray[np.uint8]

# Objects that must be read as the same pixels, each made from the same RGBA frame.
FORMS: dict[str, Callable[[Pixels], Any]] = {
    "C-contiguous": lambda frame: frame,
    "without alpha": lambda frame: np.ascontiguousarray(frame[..., :3]),
    "rows further apart": lambda frame: padded(frame)[:, : frame.shape[1]],
    "part of a larger frame": lambda frame: np.pad(frame, ((3, 2), (5, 7), (0, 0)))[3:-2, 5:-7],
    "rows upside down": lambda frame: np.ascontiguousarray(frame[::-1])[::-1],
    "columns from the right": lambda frame: np.ascontiguousarray(frame[:, ::-1])[:, ::-1],
    "channels backwards": lambda frame: np.ascontiguousarray(frame[..., 2::-1])[..., ::-1],
    "alpha in the way": lambda frame: frame[..., :3],
    "channels first": lambda frame: np.ascontiguousarray(frame.transpose(2, 0, 1)).transpose(1, 2, 0),
    "columns first": lambda frame: np.asfortranarray(frame),
    "every other pixel": lambda frame: frame.repeat(2, axis=0).repeat(2, axis=1)[::2, ::2],
    "read-only": lambda frame: read_only(frame),
    "memoryview": lambda frame: memoryview(frame),
    "buffer of bytes with a shape": lambda frame: memoryview(frame.tobytes()).cast("B", frame.shape),
    "bytearray with a shape": lambda frame: memoryview(bytearray(frame.tobytes())).cast("B", frame.shape),
    "array with a shape": lambda frame: memoryview(array.array("B", frame.tobytes())).cast("B", frame.shape),
    "PIL RGB": lambda frame: Image.fromarray(frame[..., :3]),
    "PIL RGBA": lambda frame: Image.fromarray(frame),
    "array interface alone": lambda frame: Interface(frame),
    "__array__ alone": lambda frame: Converts(frame),
    "DLPack alone": lambda frame: DLPack(frame),
    "unaligned": lambda frame: unaligned(frame),
}


def padded(frame: Pixels) -> Pixels:
    height, width, channels = frame.shape
    room = np.full((height, width + 9, channels), 77, np.uint8)
    room[:, :width] = frame
    return room


def read_only(frame: Pixels) -> Pixels:
    frame = frame.copy()
    frame.flags.writeable = False
    return frame


def unaligned(frame: Pixels) -> Pixels:
    room = np.zeros(frame.size + 1, np.uint8)
    room[1:] = frame.ravel()
    return room[1:].reshape(frame.shape)


class Interface:
    """Pixels with numpy's array interface only."""

    def __init__(self, frame: Pixels) -> None:
        self._frame = frame

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return self._frame.__array_interface__


class Converts:
    """Pixels that numpy can convert."""

    def __init__(self, frame: Pixels) -> None:
        self._frame = frame

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Pixels:
        return self._frame


class DLPack:
    """A tensor in CPU memory."""

    def __init__(self, frame: Pixels) -> None:
        self._frame = frame

    def __dlpack__(self, **wanted: Any) -> Any:
        return self._frame.__dlpack__(**wanted)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


@pytest.fixture(scope="module")
def expected() -> Pixels:
    with small_stream() as stream:
        return stream(gradient())


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_frame_is_read_as_the_same_pixels(form: str, expected: Pixels) -> None:
    with small_stream() as stream:
        picture = stream(FORMS[form](gradient()))
    assert np.array_equal(picture, expected)


def test_forms_of_frames_differ(expected: Pixels) -> None:
    frame = gradient()
    for wrong in (frame[::-1], frame[:, ::-1], frame[..., [2, 1, 0, 3]], frame.transpose(1, 0, 2)):
        with small_stream() as stream:
            assert not np.array_equal(stream(wrong), expected)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "1", "P", "CMYK", "YCbCr", "HSV", "I", "F"])
def test_pil_images_are_accepted_in_every_mode(mode: str, stream: StreamDiffusion) -> None:
    image = Image.fromarray(gradient()[..., :3]).convert(mode)
    picture = stream(image)
    with small_stream() as other:
        assert np.array_equal(picture, other(np.asarray(image.convert("RGB"))))


@pytest.mark.parametrize("shape", [(480, 640, 3), (32, 32, 4), (1, 1, 3), (2000, 8, 3), (64, 65, 4)])
def test_frames_of_other_sizes_are_resized(shape: tuple[int, ...], stream: StreamDiffusion) -> None:
    picture = stream(np.full(shape, 100, np.uint8))
    assert picture.shape == (SIDE, SIDE, 4)


BAD: dict[str, Any] = {
    "floats": gradient().astype(np.float32) / 255,
    "16 bits": gradient().astype(np.uint16),
    "signed": gradient().astype(np.int8),
    "flags": gradient() > 100,
    "complex": gradient().astype(np.complex64),
    "objects": gradient().astype(object),
    "two dimensions": gradient()[..., 0],
    "four dimensions": gradient()[None],
    "two channels": gradient()[..., :2],
    "five channels": np.zeros((SIDE, SIDE, 5), np.uint8),
    "one channel": gradient()[..., :1],
    "channels first": gradient().transpose(2, 0, 1),
    "no rows": np.zeros((0, SIDE, 3), np.uint8),
    "no columns": np.zeros((SIDE, 0, 3), np.uint8),
    "too many columns": np.broadcast_to(np.uint8(0), (2, 8193, 3)),
    "bytes without a shape": gradient().tobytes(),
    "a list": gradient().tolist(),
    "text": "frame.png",
    "nothing": None,
    "a number": 7,
    "a dict": {"pixels": gradient()},
    "big-endian shorts": gradient().astype(">u2"),
    "a structure": np.zeros((SIDE, SIDE, 3), [("r", "u1")]),
}


@pytest.mark.parametrize("what", BAD)
def test_invalid_frame_is_rejected_and_the_stream_continues(what: str, stream: StreamDiffusion) -> None:
    with pytest.raises((InvalidFrameError, TypeError)) as error:
        stream(BAD[what])
    assert len(str(error.value)) > 20
    assert stream(gradient()).shape == (SIDE, SIDE, 4)


def test_frame_with_row_stride_zero_is_read() -> None:
    row = gradient()[:1]
    with small_stream() as stream, small_stream() as other:
        broadcast = stream(np.broadcast_to(row, (SIDE, SIDE, 4)))
        assert np.array_equal(broadcast, other(np.repeat(row, SIDE, axis=0)))


def test_frame_is_neither_modified_nor_retained(stream: StreamDiffusion) -> None:
    frame = gradient()
    before = frame.copy()
    counted = gc.get_referrers(frame)
    picture = stream(frame)
    assert np.array_equal(frame, before)
    assert len(gc.get_referrers(frame)) == len(counted)
    assert not np.shares_memory(picture, frame)


def test_bytearray_can_be_resized_after_the_call(stream: StreamDiffusion) -> None:
    held = bytearray(gradient().tobytes())
    stream(memoryview(held).cast("B", (SIDE, SIDE, 4)))
    held.append(0)


# Views of a frame that do not copy its pixels.
VIEWS: dict[str, Callable[[Pixels], Any]] = {
    "whole": lambda frame: frame,
    "without the last rows": lambda frame: frame[:-100],
    "memoryview": lambda frame: memoryview(frame),
    "DLPack": lambda frame: DLPack(frame),
    "columns from the right": lambda frame: frame[:, ::-1],
}

# Prints the growth of the process's peak memory while a stream reads a frame of 192 million bytes.
GROWTH = """
import pathlib, re, sys
import numpy as np
from conftest import small_stream
from test_frames import VIEWS

def most() -> int:
    # Not getrusage(), which includes the parent process.
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", status)[1]) * 1024

frame = VIEWS[sys.argv[1]](np.full((8000, 6000, 4), 100, np.uint8))
with small_stream() as stream:
    stream(np.zeros((64, 64, 3), np.uint8))
    before = most()
    stream(frame)
    print(most() - before)
"""


def growth(form: str) -> int:
    program = [sys.executable, "-c", GROWTH, form]
    done = subprocess.run(program, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    return int(done.stdout)


tells_memory = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell it")


@tells_memory
@pytest.mark.parametrize("form", [form for form in VIEWS if form != "columns from the right"])
def test_frames_with_contiguous_rows_are_not_copied(form: str) -> None:
    assert growth(form) < 60_000_000


@tells_memory
def test_copy_measurement_detects_a_copy() -> None:
    assert growth("columns from the right") > 80_000_000


@pytest.mark.parametrize("form", ["C-contiguous", "without alpha", "rows further apart", "read-only"])
def test_frame_is_read_in_place(form: str, stream: StreamDiffusion) -> None:
    # The frame changes after the array object was created: the memory is read, not an earlier copy.
    frame = np.zeros((SIDE, SIDE + 9, 4), np.uint8)
    seen: Any = {
        "C-contiguous": lambda: np.ascontiguousarray(frame[:, :SIDE]),
        "without alpha": lambda: np.ascontiguousarray(frame[:, :SIDE, :3]),
        "rows further apart": lambda: frame[:, :SIDE],
        "read-only": lambda: frame[:, :SIDE],
    }[form]()
    room = seen if seen.base is None else frame
    room[:] = 200
    if form == "read-only":
        seen.flags.writeable = False
    with small_stream() as other:
        assert np.array_equal(stream(seen), other(np.full((SIDE, SIDE, 3), 200, np.uint8)))


def test_pictures_are_accepted_as_frames(stream: StreamDiffusion) -> None:
    picture = stream(gradient())
    again = stream(picture)
    assert isinstance(again, Picture)
    assert again.id == 1
