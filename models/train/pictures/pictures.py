"""Decode, filter, scale and save pictures."""

import io
import tempfile
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

LONGEST = 1024
QUALITY = 92
Image.MAX_IMAGE_PIXELS = 200_000_000


def decode(data):
    """A picture as an 8-bit RGB or RGBA array, or None if it is not one."""
    try:
        image = Image.open(io.BytesIO(data))
        image.draft("RGB", (2 * LONGEST, 2 * LONGEST))
        image = ImageOps.exif_transpose(image)
        clear = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
        pixels = np.asarray(image.convert("RGBA" if clear else "RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    if pixels.shape[2] == 4 and pixels[..., 3].min() > 250:
        pixels = pixels[..., :3]
    return pixels


def frames(data, name, rules):
    """Every so-many-th frame of a clip, as (frame number, RGB array) pairs."""
    every, most = rules.get("every", 10), rules.get("most", 60)
    first, last = rules.get("first", 0), rules.get("last", 10**9)
    with tempfile.NamedTemporaryFile(suffix=Path(name).suffix) as file:
        file.write(data)
        file.flush()
        clip = cv2.VideoCapture(file.name)
        index = given = 0
        while given < most and index <= last and clip.grab():
            if index >= first and (index - first) % every == 0:
                good, frame = clip.retrieve()
                if good:
                    yield index, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
                    given += 1
            index += 1
        clip.release()


def unfit(image, source):
    """Why a picture is of no use: 'too small', 'flat', or nothing."""
    height, width = image.shape[:2]
    if min(height, width) < source.get("least_side", 240):
        return "too small"
    if max(height, width) > 4 * min(height, width):
        return "too small"
    if source.get("flat_allowed"):
        return ""
    small = cv2.resize(np.ascontiguousarray(image[..., :3]), (96, 96), interpolation=cv2.INTER_AREA)
    if image.shape[2] == 4:
        alpha = cv2.resize(np.ascontiguousarray(image[..., 3]), (96, 96), interpolation=cv2.INTER_AREA)
        if (alpha > 128).mean() < 0.08:
            return "flat"
        small = small[alpha > 128].reshape(-1, 1, 3)
    codes = (small >> 3).astype(np.int64) @ np.array([1024, 32, 1])
    _, count = np.unique(codes, return_counts=True)
    if len(count) < 60 or count.max() > 0.72 * codes.size:
        return "flat"
    return ""


def fit(image):
    """The picture with its longest side at most LONGEST pixels."""
    height, width = image.shape[:2]
    scale = LONGEST / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if image.shape[2] == 3:
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    alpha = image[..., 3:].astype(np.float32) / 255
    colour = cv2.resize(image[..., :3] * alpha, size, interpolation=cv2.INTER_AREA)
    alpha = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)[..., None]
    colour = np.where(alpha > 0, colour / np.maximum(alpha, 1e-6), 0)
    return np.clip(np.concatenate([colour, alpha * 255], axis=2) + 0.5, 0, 255).astype(np.uint8)


def difference_hash(image):
    """A 64-bit hash that near-copies of a picture share but for a few bits."""
    colour = image[..., :3].astype(np.float32)
    if image.shape[2] == 4:
        alpha = image[..., 3:].astype(np.float32) / 255
        colour = colour * alpha + 255 * (1 - alpha)
    grey = colour @ np.array([0.299, 0.587, 0.114], np.float32)
    small = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA)
    bits = np.packbits((small[:, 1:] > small[:, :-1]).ravel())
    return bits.view(np.uint64)[0]


def save(image, stem):
    """Write a cut-out as PNG, any other picture as JPEG."""
    if image.shape[2] == 4:
        Image.fromarray(image, "RGBA").save(f"{stem}.png", optimize=False)
    else:
        Image.fromarray(image, "RGB").save(f"{stem}.jpg", quality=QUALITY, subsampling=0)
