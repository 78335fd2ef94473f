"""Frames and pictures: numpy arrays with metadata."""

import struct
import zlib
from base64 import b64encode
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image
    from typing_extensions import Self

    from ._types import Timings

    _Base = np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]
else:
    _Base = np.ndarray

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_RGB = 2


def encode_png(pixels: "np.ndarray[Any, np.dtype[np.uint8]]") -> bytes:
    """Returns the PNG file of an image: uint8, height x width x 3, red, green, blue."""
    height, width, _ = pixels.shape
    # PNG filter type 2 (up) on every row, which suits photographs.
    rows = np.empty((height, 1 + width * 3), np.uint8)
    rows[:, 0] = 2
    flat = pixels.reshape(height, width * 3)
    rows[0, 1:] = flat[0]
    rows[1:, 1:] = flat[1:] - flat[:-1]
    header = struct.pack(">IIBBBBB", width, height, 8, _PNG_RGB, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 1)), (b"IEND", b""))
    return _PNG + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


class Frame(_Base):
    """An input frame: a numpy array of uint8, height x width x 4 (or x 3), that owns its memory.

    Results of operations are plain arrays: `frame.mean()`, `frame / 255`.
    """

    order: Literal["rgba", "bgra", "rgb"]
    """The channels of the last axis."""

    @property
    def width(self) -> int:
        """The width in pixels."""
        return self.shape[1]

    @property
    def height(self) -> int:
        """The height in pixels."""
        return self.shape[0]

    def to_pil(self) -> "Image":
        """Returns a copy as a PIL image in mode RGB: pictures have no transparency.

        Raises:
            ImportError: Pillow is not installed.
        """
        from PIL import Image

        return Image.fromarray(self._rgb())

    @classmethod
    def _empty(cls, height: int, width: int, channels: int) -> "Self":
        """Creates an array for pixels that are written later."""
        return np.ndarray.__new__(cls, (height, width, channels), np.uint8)

    def _rgb(self) -> "np.ndarray[Any, np.dtype[np.uint8]]":
        pixels = np.asarray(self)
        channels = slice(2, None, -1) if self.order == "bgra" else slice(0, 3)
        return np.ascontiguousarray(pixels[..., channels])

    def _repr_png_(self) -> bytes | None:
        """Displays the picture in a notebook; a slice that is not an image is displayed as numbers."""
        if self.ndim != 3 or self.dtype != np.uint8 or self.shape[2] not in (3, 4) or self.size == 0:
            return None
        return encode_png(self._rgb())

    def __array_finalize__(self, source: Any, /) -> None:
        if isinstance(source, Frame):
            self.__dict__.update(source.__dict__)

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False, /) -> Any:
        plain = np.asarray(array)
        return plain[()] if return_scalar or plain.ndim == 0 else plain

    def __reduce__(self) -> Any:
        return _unpickled, (type(self), np.asarray(self), self.__dict__)

    def __deepcopy__(self, memo: Any, /) -> "Self":
        return self.copy()


class Picture(Frame):
    """An output picture: a numpy array of uint8, height x width x 4 (or x 3), that owns its memory.

    Results of operations are plain arrays: `picture.mean()`, `picture / 255`.
    """

    id: int
    """The number of the frame whose processing output this picture."""
    source_id: int
    """The number of the frame that this picture was made from."""
    kind: Literal["new", "repeated", "flagged", "passed", "interpolated"]
    """How it was made: restyled, a repeat of the last picture, a replacement of a flagged one, the frame itself, or
    interpolated between the picture before and that of the frame."""
    version: int
    """The version of the parameters in effect: that of the newest applied update, 0 before the first."""
    timings: "Timings"
    """Duration of each stage in microseconds, in order of execution; `frame` is the total."""

    def _repr_html_(self) -> str | None:
        """Displays the picture in a notebook, with its metadata."""
        png = self._repr_png_()
        if png is None:
            return None
        micros = self.timings.get("frame", 0)
        facts = f"{self.width}&times;{self.height}, {self.kind}, frame {self.source_id}, {micros / 1000:.1f} ms"
        return f'<img src="data:image/png;base64,{b64encode(png).decode()}" alt="{facts}" title="{facts}">'


def _unpickled(kind: type[Frame], pixels: "np.ndarray[Any, np.dtype[np.uint8]]", facts: dict[str, Any]) -> Frame:
    frame = pixels.view(kind)
    frame.__dict__.update(facts)
    return frame
