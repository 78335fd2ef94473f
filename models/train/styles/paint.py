"""Filters that paint: flat colours, brush strokes, wet edges, glass and lead."""

import cv2
import numpy as np

from .common import (
    blur,
    contrast,
    dark_lines,
    edge_strength,
    gray,
    grid,
    kuwahara,
    mix,
    ramp,
    saturate,
    smoothstep,
    to_bytes,
    unit,
)


def flow(x, sigma=3.0):
    """The direction along structures, as two arrays: the weaker eigenvector of the smoothed structure tensor."""
    g = blur(gray(x), 1.0)
    dx, dy = cv2.Sobel(g, cv2.CV_32F, 1, 0), cv2.Sobel(g, cv2.CV_32F, 0, 1)
    xx, yy, xy = blur(dx * dx, sigma), blur(dy * dy, sigma), blur(dx * dy, sigma)
    angle = 0.5 * np.arctan2(2 * xy, xx - yy) + np.pi / 2
    return np.cos(angle), np.sin(angle)


def smear(x, directions, length):
    """Each pixel in the mean colour of a line of 2 * `length` + 1 pixels along the directions."""
    height, width = x.shape[:2]
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    u, v = (d.astype(np.float32) for d in directions)
    total = x.copy()
    for step in range(1, length + 1):
        for sign in (-step, step):
            total += cv2.remap(x, columns + sign * u, rows + sign * v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return total / (2 * length + 1)


def bristles(x, directions):
    """Light and dark ridges along the strokes, from the picture's own fine structure."""
    fine = smear(gray(x) - blur(gray(x), 1.2), directions, 5)
    return np.clip(fine * 3.0, -0.2, 0.2)


def oil(picture):
    x = kuwahara(kuwahara(unit(picture), 4), 3)
    directions = flow(x)
    x = saturate(smear(x, directions, 3), 1.5)
    x = smoothstep(x) * 0.6 + x * 0.4
    relief = cv2.Sobel(blur(gray(x), 0.8), cv2.CV_32F, 0, 1, ksize=3)
    return to_bytes(x + (np.clip(relief * 0.6, -0.18, 0.18) + bristles(unit(picture), directions))[..., None])


def watercolor(picture):
    x = kuwahara(unit(cv2.bilateralFilter(picture, 9, 60, 7)), 5)
    rim = np.clip(edge_strength(gray(x), 1.4) * 0.8, 0, 0.40)
    x = 1 - (1 - saturate(x, 1.5)) * 0.68
    columns, rows = grid(picture.shape, 8)
    paper = 0.025 * (((columns * 3 + rows * 5) % 8 < 3) ^ ((columns + rows * 3) % 8 < 3)).astype(np.float32)
    x = x - rim[..., None] * np.array([1.0, 0.95, 0.8], np.float32) - paper[..., None]
    return to_bytes(x * np.array([1.0, 0.99, 0.96], np.float32))


def vangogh(picture):
    x = kuwahara(unit(picture), 4)
    directions = flow(x, 8.0)
    x = smear(x, directions, 6)
    g = contrast(to_bytes(x))
    palette = ramp(
        g,
        [
            (0, (0.02, 0.05, 0.22)),
            (0.3, (0.08, 0.22, 0.60)),
            (0.55, (0.25, 0.55, 0.70)),
            (0.75, (0.85, 0.72, 0.22)),
            (1, (1.0, 0.95, 0.60)),
        ],
    )
    x = 0.35 * saturate(x, 1.9) + 0.65 * palette
    columns, rows = grid(picture.shape, 16)
    # Strokes: waves across the direction, in phase with the tiles where the direction is one of eight.
    turn = np.round(np.arctan2(directions[1], directions[0]) / (np.pi / 4)) * (np.pi / 4)
    wave = np.cos((np.round(np.cos(turn)) * rows - np.round(np.sin(turn)) * columns) * (2 * np.pi / 8))
    return to_bytes(x + 0.07 * blur(wave.astype(np.float32), 0.7)[..., None])


def cartoon(picture):
    flat = picture
    for _ in range(2):
        flat = cv2.bilateralFilter(flat, 7, 45, 5)
    hsv = cv2.cvtColor(unit(flat), cv2.COLOR_RGB2HSV)
    steps = 4.0
    v = hsv[..., 2] * steps
    floor = np.floor(v)
    hsv[..., 2] = np.clip((floor + smoothstep((v - floor - 0.5) * 4 + 0.5) + 0.3) / steps, 0, 1)
    hsv[..., 1] = np.clip(hsv[..., 1] * 1.7, 0, 1)
    x = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return to_bytes(x * (1 - 0.95 * dark_lines(gray(unit(flat)), 1.2, 1.8, 30, 0.008)[..., None]))


def stained(picture):
    flat = picture
    for _ in range(2):
        flat = cv2.bilateralFilter(flat, 9, 60, 7)
    hsv = cv2.cvtColor(kuwahara(unit(flat), 6), cv2.COLOR_RGB2HSV)
    level = np.floor(hsv[..., 2] * 4.5)
    strong = smoothstep((hsv[..., 1] - 0.08) * 6)
    # Gray glass is tinted by its brightness, as windows have little colourless glass.
    tint = np.where(level % 2 == 0, 210.0, 40.0)
    hsv[..., 0] = np.where(strong > 0.5, np.round(hsv[..., 0] / 40.0) * 40.0 % 360, tint)
    hsv[..., 1] = np.clip(np.maximum(strong * (0.6 + 0.6 * hsv[..., 1]), 0.35), 0, 1)
    hsv[..., 2] = np.clip((level + 1.2) / 5.0 + 0.1, 0, 1)
    colour = unit(cv2.medianBlur(to_bytes(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)), 7))
    edge = edge_strength(gray(colour), 0.8)
    for c in range(3):
        edge = np.maximum(edge, 0.6 * edge_strength(colour[..., c], 0.8))
    lead = cv2.dilate(smoothstep((edge - 0.12) * 5), np.ones((3, 3), np.uint8))
    return to_bytes(mix(colour, (0.03, 0.03, 0.03), np.clip(blur(lead, 0.7), 0, 1)))
