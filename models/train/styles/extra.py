"""Filters that the base model does not know: what its LoRAs teach."""

import numpy as np

from .common import blur, contrast, edge_strength, grid, ramp, to_bytes


def hologram(picture):
    """A projection: cyan light on black, scan lines, bright contours that are red on one side and blue on the other."""
    g = contrast(picture)
    edge = np.clip(edge_strength(g, 1.0) * 1.6 - 0.08, 0, 1)
    light = ramp(
        np.clip(0.75 * g + 0.1, 0, 1), [(0, (0.0, 0.02, 0.05)), (0.5, (0.0, 0.38, 0.48)), (1, (0.45, 1.0, 0.95))]
    )
    split = np.stack([np.roll(edge, 2, 1), edge, np.roll(edge, -2, 1)], -1)
    _, row = grid(g.shape, 4)
    lines = np.where(row < 2, 1.0, 0.45)[..., None]
    return to_bytes((light + 0.8 * split) * lines + 0.25 * blur(split, 3.0))


EXTRA = {"hologram": hologram}
