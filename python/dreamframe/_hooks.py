"""Conversions around a host's own processors, safety checker and style images, which the native module calls."""

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from ._picture import encode_png
from ._types import ProcessorContext
from .errors import InvalidArgumentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._types import FaceEmbeddings, Processor, SafetyChecker, StyleImages


def empty(height: int, width: int, channels: int) -> "NDArray[np.float32]":
    """Returns an array for pixels that are written later."""
    return np.empty((height, width, channels), np.float32)


def process(
    processor: "Processor",
    image: "NDArray[np.float32]",
    previous: "NDArray[np.float32] | None",
    settings: dict[str, Any],
    size: tuple[int, int],
) -> "NDArray[np.float32]":
    """Calls a processor, and returns its result as height x width x channels in float32."""
    channels = image.shape[2]
    result = np.asarray(processor(image, ProcessorContext(settings, previous, size)))
    if result.dtype == np.uint8:
        result = result.astype(np.float32) / 255
    elif result.dtype.kind not in "fb":
        raise InvalidArgumentError(f"type of the result: got {result.dtype}, expected float32 in 0..1, or uint8")
    if result.ndim == 2:
        result = np.repeat(result[..., np.newaxis], channels, axis=2)
    if result.ndim != 3 or result.shape[2] != channels or result.size == 0:
        shape = " x ".join(map(str, result.shape))
        expected = f"height x width x {channels}, or height x width"
        raise InvalidArgumentError(f"shape of the result: got {shape}, expected {expected}")
    if not np.isfinite(result).all():
        raise InvalidArgumentError("result: got a value that is not finite, expected numbers from 0 to 1")
    return np.ascontiguousarray(result, np.float32)


def score(checker: "SafetyChecker", image: "NDArray[np.float32]") -> float:
    """Calls a safety checker, and returns its score."""
    result = float(checker(image))
    if not 0 <= result <= 1:
        raise InvalidArgumentError(f"score: got {result}, expected a number from 0 to 1")
    return result


def fetch(images: "StyleImages", url: str) -> bytes:
    """Calls a source of style images, and returns the bytes of an image file."""
    result: Any = images(url)
    if isinstance(result, (bytes, bytearray)):
        return bytes(result)
    if isinstance(result, memoryview):
        return result.tobytes()
    if isinstance(result, io.BufferedIOBase):
        return result.read()
    if hasattr(result, "convert") and hasattr(result, "mode"):
        result = result.convert("RGB")
    pixels = np.asarray(result)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (3, 4) or pixels.size == 0:
        got = f"{type(result).__name__} {pixels.dtype} {' x '.join(map(str, pixels.shape))}"
        expected = "the bytes of an image file, a PIL image, or uint8 of height x width x 3 or x 4"
        raise InvalidArgumentError(f"style image: got {got}, expected {expected}")
    return encode_png(pixels[..., :3])


def embed(faces: "FaceEmbeddings", source: str) -> list[float]:
    """Calls a source of embeddings of faces, and returns the embedding."""
    result = np.asarray(faces(source), np.float32).ravel()
    if result.size == 0 or not np.isfinite(result).all():
        raise InvalidArgumentError(f"embedding: got {result.size} numbers, expected finite ones, at least one")
    return result.tolist()
