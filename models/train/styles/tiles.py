"""Filters that build the picture from regular elements; all repeat every 8 or 16 pixels."""

import cv2
import numpy as np

from .common import blur, cells, contrast, dark_lines, gray, grid, mix, saturate, smoothstep, to_bytes, unit

# Brightness of the 2 x 4 stones within 16 x 16 pixels.
STONES = np.float32(
    [[0.06, -0.07, 0.02, -0.03], [-0.05, 0.04, -0.02, 0.07], [0.03, -0.04, 0.06, -0.06], [-0.02, 0.07, -0.05, 0.01]]
)


def mosaic(picture):
    """Stones of 8 x 4 pixels in rows that are offset by half a stone, each a little lighter or darker."""
    x, y = grid(picture.shape, 16)
    shifted = np.roll(saturate(unit(picture), 1.6), -4, 1)
    height, width = picture.shape[:2]

    def stones(source):
        small = cv2.resize(source, (width // 8, height // 4), interpolation=cv2.INTER_AREA)
        return cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)

    odd = (y // 4) % 2 == 1
    out = np.where(odd[..., None], np.roll(stones(shifted), 4, 1), stones(saturate(unit(picture), 1.6)))
    column = np.where(odd, (x - 4) % 16, x)
    out = out + (STONES[y // 4, (column // 8) * 2 + (y // 4) % 2] * 1.3)[..., None]
    grout = ((y % 4 == 3) | (column % 8 == 7)).astype(np.float32)
    return to_bytes(mix(out, (0.17, 0.16, 0.15), grout))


def pixelart(picture):
    x = cells(saturate(unit(picture), 1.5), 8)
    return to_bytes(np.round(np.clip((x - 0.5) * 1.2 + 0.5, 0, 1) * 4) / 4)


def dots(darkness, period):
    """Round dots on a diagonal lattice, as large as `darkness` asks for; 1 where there is ink."""
    x, y = grid(darkness.shape, period)
    angle = 2 * np.pi / period
    wave = (np.cos((x + 0.5) * angle) * np.cos((y + 0.5) * angle) + 1) / 2
    return smoothstep((wave - 1 + np.clip(darkness, 0, 1)) * 5 + 0.5)


def popart(picture):
    flat = cv2.bilateralFilter(picture, 9, 70, 7)
    g = contrast(flat)
    x = np.clip(0.25 + 0.75 * np.round(saturate(unit(flat), 2.2) * 2.4) / 2.4, 0, 1)
    x = mix(x, (0.9, 0.10, 0.25), 0.75 * dots(0.85 - 1.2 * blur(g, 2), 8))
    return to_bytes(x * (1 - dark_lines(g, 1.6, 1.8, 30, 0.01)[..., None]))


def newspaper(picture):
    """Black halftone dots on grey paper."""
    g = contrast(picture)
    black = dots(1.02 - blur(g, 1.0), 8)
    return to_bytes(mix(np.broadcast_to(np.float32([0.86, 0.85, 0.80]), picture.shape), (0.12, 0.12, 0.13), black))


def crossstitch(picture):
    """Crosses of thread, 8 pixels each, on linen."""
    x = np.round(cells(saturate(unit(picture), 1.5), 8) * 5) / 5
    column, row = grid(picture.shape, 8)
    rising = np.abs(column - row).astype(np.float32)
    falling = np.abs(column + row - 7).astype(np.float32)
    thread = np.clip(2.4 - np.minimum(rising, falling), 0, 1)
    light = 1 + 0.22 * np.where(falling < rising, 1.0, -1.0) - 0.10 * np.minimum(rising, falling)
    linen = np.float32([0.88, 0.84, 0.74]) - 0.08 * ((column + row) % 2)[..., None]
    return to_bytes(linen * (1 - thread[..., None]) + x * light[..., None] * thread[..., None])


def led(picture):
    """A wall of round lamps, 8 pixels apart, on black."""
    x = cells(saturate(unit(picture), 1.7), 8)
    column, row = grid(picture.shape, 8)
    distance = np.hypot(column - 3.5, row - 3.5)
    lamp = np.clip(3.9 - distance, 0, 1) * (1.15 - 0.06 * distance**2 * 0.35)
    return to_bytes(np.clip(x**1.2 * 1.25, 0, 1) * lamp[..., None] + 0.015)


def knitted(picture):
    """Rows of V-shaped stitches, 8 pixels wide and 8 high."""
    x = cells(saturate(unit(picture), 1.2), 8)
    column, row = grid(picture.shape, 8)
    slope = (row + np.where(column < 4, -column, column - 7) * -1.0) % 8
    shade = 1.08 - 0.085 * np.abs(slope - 3.5) ** 1.35
    shade = (
        shade * np.where((column == 0) | (column == 7), 0.72, 1.0) * np.where((column == 3) | (column == 4), 0.86, 1.0)
    )
    return to_bytes(x * shade[..., None] + 0.02 * gray(x)[..., None])
