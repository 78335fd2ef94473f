"""Helpers of the filters: pictures are RGB, uint8 or float32 in 0..1, of shape (height, width, 3)."""

import cv2
import numpy as np

LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def unit(picture):
    return picture.astype(np.float32) / 255.0


def to_bytes(x):
    """Float values in 0..1, one or three channels, as an RGB uint8 picture."""
    if x.ndim == 2:
        x = np.repeat(x[..., None], 3, -1)
    return (np.clip(x, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def gray(x):
    return x @ LUMA


def contrast(picture):
    """The brightness of a uint8 picture with more contrast.

    The same curve for all pictures: levels stretched by a picture's own histogram are something that a
    network with a small receptive field cannot see, and they change from frame to frame.
    """
    return smoothstep(np.clip(gray(unit(picture)) * 1.1 - 0.05, 0, 1)) * 0.5 + gray(unit(picture)) * 0.5


def blur(x, sigma):
    return cv2.GaussianBlur(x, (0, 0), sigma)


def saturate(x, factor):
    g = gray(x)[..., None]
    return np.clip(g + (x - g) * factor, 0, 1)


def smoothstep(t):
    t = np.clip(t, 0, 1).astype(np.float32)
    return t * t * (3 - 2 * t)


def ramp(values, stops):
    """Piecewise-linear colour scale; stops = [(position, (r, g, b)), ...]."""
    positions = [p for p, _ in stops]
    colours = np.array([c for _, c in stops], np.float32)
    return np.stack([np.interp(values, positions, colours[:, i]) for i in range(3)], -1).astype(np.float32)


def mix(x, colour, amount):
    """`x` where `amount` (height, width) is 0, `colour` where it is 1."""
    return x + (np.asarray(colour, np.float32) - x) * amount[..., None]


def dark_lines(g, sigma=1.0, ratio=1.6, gain=18.0, bias=0.012):
    """1 where a dark line should be drawn (difference of Gaussians)."""
    return np.clip((blur(g, sigma * ratio) - blur(g, sigma) - bias) * gain, 0, 1)


def edge_strength(g, sigma=1.2):
    b = blur(g, sigma)
    return np.hypot(cv2.Sobel(b, cv2.CV_32F, 1, 0), cv2.Sobel(b, cv2.CV_32F, 0, 1))


def grid(shape, period):
    """The column and the row of each pixel within tiles of `period` pixels, each (height, width)."""
    height, width = shape[:2]
    return np.meshgrid(np.arange(width) % period, np.arange(height) % period)


def cells(x, size):
    """Each square of `size` pixels in its mean colour."""
    height, width = x.shape[:2]
    small = cv2.resize(x, (width // size, height // size), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)


def kuwahara(x, radius):
    """Four-quadrant Kuwahara filter: each pixel takes the mean of its calmest corner."""
    side, offset = radius + 1, radius // 2
    g = gray(x)
    box = dict(ddepth=-1, ksize=(side, side), borderType=cv2.BORDER_REFLECT)
    mean, gray_mean = cv2.boxFilter(x, **box), cv2.boxFilter(g, **box)
    variance = cv2.boxFilter(g * g, **box) - gray_mean * gray_mean
    height, width = g.shape
    mean = cv2.copyMakeBorder(mean, radius, radius, radius, radius, cv2.BORDER_REFLECT)
    variance = cv2.copyMakeBorder(variance, radius, radius, radius, radius, cv2.BORDER_REFLECT)
    best, out = None, None
    for dy in (-offset, offset):
        for dx in (-offset, offset):
            rows, columns = slice(radius + dy, radius + dy + height), slice(radius + dx, radius + dx + width)
            if best is None:
                best, out = variance[rows, columns].copy(), mean[rows, columns].copy()
            else:
                calmer = variance[rows, columns] < best
                best[calmer], out[calmer] = variance[rows, columns][calmer], mean[rows, columns][calmer]
    return out
