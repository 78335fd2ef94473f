"""Filters that change colours and light and keep the picture's details."""

import cv2
import numpy as np

from .common import blur, contrast, gray, ramp, saturate, smoothstep, to_bytes, unit


def photo(picture):
    return picture.copy()


def thermal(picture):
    g = blur(contrast(picture), 1.6)
    return to_bytes(
        ramp(
            g,
            [
                (0, (0.02, 0.0, 0.25)),
                (0.22, (0.25, 0.0, 0.75)),
                (0.45, (0.90, 0.05, 0.45)),
                (0.65, (1.0, 0.45, 0.0)),
                (0.85, (1.0, 0.92, 0.1)),
                (1, (1, 1, 0.92)),
            ],
        )
    )


def sepia(picture):
    g = 0.14 + 0.78 * blur(gray(unit(picture)), 0.7) ** 0.9
    return to_bytes(ramp(g, [(0, (0.14, 0.07, 0.02)), (0.5, (0.62, 0.44, 0.26)), (1, (1.0, 0.93, 0.76))]))


def night(picture):
    x = saturate(unit(picture), 0.45)
    g = gray(x)[..., None]
    x = x**1.5 * np.array([0.22, 0.38, 0.78], np.float32)
    x = x + smoothstep((g - 0.72) * 3.5) * np.array([0.12, 0.20, 0.30], np.float32)
    return to_bytes(x * 0.85 + np.array([0.0, 0.01, 0.05], np.float32))


def sunset(picture):
    x = unit(picture)
    tint = ramp(
        gray(x), [(0, (0.14, 0.02, 0.16)), (0.35, (0.60, 0.14, 0.20)), (0.7, (1.0, 0.55, 0.12)), (1, (1.0, 0.90, 0.50))]
    )
    return to_bytes(0.72 * tint + 0.28 * x * np.array([1.1, 0.8, 0.5], np.float32))


def noir(picture):
    return to_bytes(smoothstep(smoothstep((contrast(picture) - 0.18) * 1.15)))


def bronze(picture):
    g = blur(contrast(picture), 1.3)
    dy, dx = cv2.Sobel(g, cv2.CV_32F, 0, 1, ksize=3), cv2.Sobel(g, cv2.CV_32F, 1, 0, ksize=3)
    slant = 1.0 / np.sqrt(1 + 5 * (dx * dx + dy * dy))
    lit = np.clip(0.30 + 0.30 * g + 1.1 * dy * slant - 0.25 * np.abs(dx) * slant, 0, 1)
    shine = np.clip(dy * slant * 1.3 - 0.15, 0, 1) ** 1.2
    x = ramp(
        lit, [(0, (0.05, 0.03, 0.02)), (0.35, (0.33, 0.18, 0.07)), (0.65, (0.72, 0.46, 0.18)), (1, (1.0, 0.82, 0.48))]
    )
    return to_bytes(x + shine[..., None] * np.array([1.0, 0.95, 0.75], np.float32))


def winter(picture):
    x = saturate(unit(picture), 0.28)
    g = blur(gray(x), 1.5)
    x = (0.20 + 0.72 * x**0.8) * np.array([0.86, 0.95, 1.06], np.float32)
    dy = cv2.Sobel(blur(g, 1.5), cv2.CV_32F, 0, 1, ksize=5)
    snow = blur(smoothstep(np.abs(dy) * 0.55 + (g - 0.62) * 1.8), 1.0)[..., None]
    return to_bytes(x * (1 - snow) + snow * np.array([0.97, 0.985, 1.0], np.float32))


def duotone(picture):
    """Deep violet shadows, hot orange lights, strong contrast: a printed poster."""
    return to_bytes(
        ramp(
            smoothstep(contrast(picture)),
            [(0, (0.16, 0.02, 0.34)), (0.45, (0.86, 0.10, 0.42)), (0.8, (1.0, 0.62, 0.20)), (1, (1.0, 0.95, 0.72))],
        )
    )
