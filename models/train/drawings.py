"""Drawings made on the spot: shapes, strokes, hatching and letters over flat, graded or mottled grounds."""

import cv2
import numpy as np


def colour(rng):
    if rng.random() < 0.3:
        return (int(rng.integers(256)),) * 3
    return tuple(int(v) for v in rng.integers(0, 256, 3))


def backdrop(rng, size):
    """A flat, graded or softly mottled ground."""
    kind = rng.random()
    first, last = np.float32(colour(rng)), np.float32(colour(rng))
    if kind < 0.35:
        if rng.random() < 0.5:
            first = np.float32([rng.choice([0, 255, 245, 20])] * 3)
        return np.broadcast_to(first, (size, size, 3)).astype(np.uint8).copy()
    if kind < 0.75:
        y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
        angle = rng.uniform(0, 2 * np.pi)
        t = x * np.cos(angle) + y * np.sin(angle)
        if rng.random() < 0.3:
            t = np.hypot(x - rng.random(), y - rng.random())
        t = (t - t.min()) / (np.ptp(t) + 1e-6)
    else:
        cells = int(rng.integers(3, 12))
        t = cv2.resize(rng.random((cells, cells)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
        t = np.clip(t, 0, 1)
    return (first + (last - first) * t[..., None]).astype(np.uint8)


def drawing(rng, size):
    """Shapes, strokes, hatching, letters and checks over a backdrop."""
    over = 2  # drawn at twice the size, then reduced, for clean edges
    side = size * over
    page = backdrop(rng, side)
    ink = colour(rng)
    for _ in range(int(rng.integers(2, 14))):
        if rng.random() < 0.5:
            ink = colour(rng)
        kind = rng.integers(7)
        at = [int(v) for v in rng.integers(-side // 8, side + side // 8, 4)]
        thick = int(rng.choice([1, 2, 2, 3, 4, 6, 10])) * over
        fill = -1 if rng.random() < 0.5 else thick
        if kind == 0:
            cv2.line(page, at[:2], at[2:], ink, thick, cv2.LINE_AA)
        elif kind == 1:
            cv2.circle(page, at[:2], int(rng.integers(4, side // 2)), ink, fill, cv2.LINE_AA)
        elif kind == 2:
            cv2.rectangle(page, at[:2], at[2:], ink, fill, cv2.LINE_AA)
        elif kind == 3:
            points = rng.integers(0, side, (int(rng.integers(3, 8)), 2)).astype(np.int32)
            if fill < 0:
                cv2.fillPoly(page, [points], ink, cv2.LINE_AA)
            else:
                cv2.polylines(page, [points], bool(rng.random() < 0.5), ink, thick, cv2.LINE_AA)
        elif kind == 4:  # a wandering pen stroke
            steps = rng.normal(0, side / 14, (40, 2)).cumsum(0) + rng.integers(0, side, 2)
            smooth = np.stack([np.convolve(steps[:, i], np.ones(5) / 5, "valid") for i in (0, 1)], 1)
            cv2.polylines(page, [smooth.astype(np.int32)], False, ink, thick, cv2.LINE_AA)
        elif kind == 5:
            letters = "".join(chr(int(c)) for c in rng.integers(33, 123, int(rng.integers(1, 9))))
            cv2.putText(page, letters, at[:2], int(rng.integers(0, 8)), rng.uniform(0.6, 4), ink, thick, cv2.LINE_AA)
        else:
            gap, turn = int(rng.integers(6, 28)) * over, rng.uniform(0, np.pi)
            y, x = np.mgrid[0:side, 0:side]
            wave = (x * np.cos(turn) + y * np.sin(turn)) % gap < gap * rng.uniform(0.15, 0.6)
            if rng.random() < 0.3:
                wave ^= (y * np.cos(turn) - x * np.sin(turn)) % gap < gap * 0.5
            box = [sorted(at[::2]), sorted(at[1::2])]
            inside = (x > box[0][0]) & (x < box[0][1]) & (y > box[1][0]) & (y < box[1][1])
            page[wave & inside] = ink
    return cv2.resize(page, (size, size), interpolation=cv2.INTER_AREA)


def jitter(rng, picture, strength=1.0):
    hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV).astype(np.float32)
    hsv[..., 0] = (hsv[..., 0] + rng.uniform(-90, 90) * (rng.random() < 0.4) * strength) % 180
    hsv[..., 1] *= rng.uniform(0.6, 1 + 0.9 * strength)
    picture = cv2.cvtColor(np.clip(hsv, 0, 255).astype(np.uint8), cv2.COLOR_HSV2RGB).astype(np.float32) / 255
    picture = picture ** np.exp(rng.uniform(-0.5, 0.5) * strength)
    picture = (picture - 0.5) * rng.uniform(0.7, 1 + 0.6 * strength) + 0.5 + rng.uniform(-0.1, 0.1) * strength
    return (np.clip(picture, 0, 1) * 255).astype(np.uint8)
