"""Frames that say which they are: sixteen columns, each one bit, so that a number survives any codec."""

import asyncio
import fractions
import time

import numpy
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av import VideoFrame

BITS = 16
SIDE = 256


class Numbered(MediaStreamTrack):
    """Sends a frame every `1 / rate` seconds; the first is number 1."""

    kind = "video"

    def __init__(self, rate: int = 15) -> None:
        super().__init__()
        self.rate = rate
        self.sent: dict[int, float] = {}
        self._started = time.monotonic()

    async def recv(self) -> VideoFrame:
        """The next frame, when it is time for it."""
        if self.readyState != "live":
            raise MediaStreamError
        number = len(self.sent) + 1
        await asyncio.sleep(max(0.0, self._started + number / self.rate - time.monotonic()))
        frame = VideoFrame.from_ndarray(picture(number), format="rgb24")
        frame.pts, frame.time_base = number * 90_000 // self.rate, fractions.Fraction(1, 90_000)
        self.sent[number] = time.monotonic()
        return frame


def picture(number: int) -> numpy.ndarray:
    """Returns the picture of `number`; below each bit is its complement."""
    bits = numpy.array([number >> bit & 1 for bit in range(BITS)], dtype=bool)
    rows = numpy.stack([bits, ~bits])
    grey = numpy.where(rows, 224, 32).astype(numpy.uint8)
    grey = grey.repeat(SIDE // 2, axis=0).repeat(SIDE // BITS, axis=1)
    return numpy.stack([grey] * 3, axis=2)


def number(pixels: numpy.ndarray) -> int | None:
    """The number of a picture; none where its two halves are not each other's opposite."""
    height, width = pixels.shape[:2]
    grey = pixels.mean(axis=2)
    halves = grey.reshape(2, height // 2, BITS, width // BITS).mean(axis=(1, 3)) > 128
    if (halves[0] == halves[1]).any():
        return None
    return int(sum(int(bit) << place for place, bit in enumerate(halves[0])))
