"""Filters that draw: contours, hatching and glowing lines."""

import cv2
import numpy as np

from .common import blur, contrast, dark_lines, edge_strength, grid, mix, ramp, smoothstep, to_bytes


def contours(g, sigma=1.1, gain=60.0):
    """1 on paper, 0 on the dark side of edges: soft thresholds of a difference of Gaussians."""
    return np.clip(1 + np.tanh(gain * np.minimum(blur(g, sigma) - 0.96 * blur(g, 2 * sigma) - 0.012, 0)), 0, 1)


def strokes(darkness, phase, period, softness=2.5):
    """Lines across `phase` (pixels), as wide as `darkness` (0..1) asks for; 1 where there is ink."""
    wave = np.abs((phase / period) % 1.0 - 0.5) * 2
    return np.clip((np.clip(darkness, 0, 1) - 1 + wave) * period / softness + 0.5, 0, 1) * (darkness > 0.02)


def pencil(picture):
    g = contrast(picture)
    dodge = np.clip(g / np.maximum(blur(g, 5.0), 0.08), 0, 1) ** 2.2
    x, y = grid(g.shape, 16)
    tone = blur(g, 1.5)
    hatch = 0.42 * strokes((0.72 - tone) * 1.3, x + y, 4) + 0.35 * strokes((0.36 - tone) * 1.8, x - y, 4)
    paper = np.array([0.97, 0.96, 0.93], np.float32)
    return to_bytes((np.clip(dodge - hatch, 0, 1) * 0.9 + 0.1)[..., None] * paper)


def ink(picture):
    g = contrast(picture)
    return to_bytes(contours(g) * smoothstep((blur(g, 1.5) - 0.12) * 9))


def engraving(picture):
    """Copper-plate print: tone is the width of parallel lines, crossed in the shadows."""
    g = contrast(picture)
    x, y = grid(g.shape, 16)
    tone = blur(g, 1.0)
    first = strokes(1.0 - tone * 1.1, y * 2 + x, 8, 2.0)
    second = strokes((0.40 - tone) * 1.6, y * 2 - x, 8, 2.0)
    black = np.maximum(np.maximum(first, second), 1 - contours(g, 0.9))
    return to_bytes(mix(np.broadcast_to(np.float32([0.96, 0.93, 0.85]), picture.shape), (0.13, 0.10, 0.10), black))


def linocut(picture):
    """One colour of ink with cut marks in the middle tones."""
    g = blur(contrast(picture), 1.6)
    x, y = grid(g.shape, 16)
    cut = strokes((g - 0.22) * 1.9, x - 2 * y, 16, 2.5)
    black = 1 - np.clip(np.maximum(cut, smoothstep((g - 0.62) * 9)), 0, 1) * (1 - dark_lines(g, 1.4, 1.8, 30, 0.012))
    return to_bytes(mix(np.broadcast_to(np.float32([0.97, 0.93, 0.84]), picture.shape), (0.62, 0.09, 0.08), black))


def chalk(picture):
    """Chalk on a green board: light lines, light places rubbed in with short strokes."""
    g = contrast(picture)
    x, y = grid(g.shape, 16)
    line = np.clip(edge_strength(g, 1.0) * 1.5 - 0.12, 0, 1)
    grain = 0.55 + 0.45 * (((x * 5 + y * 3) % 8) < 5)
    rubbed = 0.75 * smoothstep((blur(g, 2.0) - 0.40) * 1.8) * strokes(0.72, x + y, 4) * grain
    white = np.clip(np.maximum(line, rubbed), 0, 1)
    return to_bytes(mix(np.broadcast_to(np.float32([0.10, 0.22, 0.17]), picture.shape), (0.93, 0.95, 0.88), white))


def neon(picture):
    g = contrast(cv2.bilateralFilter(picture, 5, 40, 5))
    base = ramp(g * 0.9, [(0, (0.02, 0.0, 0.08)), (0.5, (0.14, 0.03, 0.32)), (1, (0.08, 0.22, 0.42))])
    edge = np.clip(edge_strength(g, 1.0) * 1.8 - 0.08, 0, 1)
    side = smoothstep((blur(g, 4) - 0.3) * 2.5)[..., None]
    hue = (1 - side) * np.array([1.0, 0.05, 0.75], np.float32) + side * np.array([0.05, 0.95, 1.0], np.float32)
    core = edge[..., None] * hue
    return to_bytes(base + core * 1.1 + blur(core, 4.0) * 1.2)


def blueprint(picture):
    g = contrast(picture)
    line = np.clip(dark_lines(g, 1.1, 1.8, 30, 0.006) + np.clip(edge_strength(g, 1.0) * 0.9 - 0.10, 0, 1), 0, 1)
    x, y = grid(g.shape, 16)
    ground = np.array([0.05, 0.20, 0.52], np.float32) + (g[..., None] - 0.5) * 0.10
    ground = ground + 0.12 * ((x == 0) | (y == 0))[..., None]
    return to_bytes(mix(ground, (0.92, 0.97, 1.0), line))
