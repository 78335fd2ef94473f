"""Cut crops from pictures and draw each in several styles; written as shards that training reads.

A shard is a folder of arrays: photo.npy (crops, size, size, 3) uint8, styled.npy (crops * styles, size, size, 3)
uint8, style.npy (crops * styles) index into styles.NAMES; row i * styles + j of styled is a picture of row i of photo.
A part of the crops are drawings instead of pictures: shapes, lines, letters over graded grounds.
"""

import argparse
import glob
import os
import time

import cv2
import numpy as np

from drawings import drawing, jitter
from styles import NAMES, STYLES


def read_rgb(path, rng):
    """A picture as RGB; a cut-out is put on a graded ground."""
    picture = cv2.imread(path, cv2.IMREAD_UNCHANGED)
    if picture is None:
        return None
    if picture.dtype != np.uint8:
        picture = (picture / 257).astype(np.uint8)
    if picture.ndim == 2:
        return cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB)
    if picture.shape[2] == 4:
        height, width = picture.shape[:2]
        first, last = rng.uniform(20, 245, 3), rng.uniform(20, 245, 3)
        down = np.linspace(0, 1, height)[:, None, None]
        ground = np.broadcast_to(first * (1 - down) + last * down, (height, width, 3))
        alpha = picture[..., 3:].astype(np.float32) / 255
        picture = (picture[..., :3] * alpha + ground * (1 - alpha)).astype(np.uint8)
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def square(picture, size):
    """The middle square of a picture, scaled to `size`."""
    height, width = picture.shape[:2]
    side = min(height, width)
    y, x = (height - side) // 2, (width - side) // 2
    shrinks = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    return cv2.resize(picture[y : y + side, x : x + side], (size, size), interpolation=shrinks)


def held_out(folder, size, limit):
    """The first pictures of a folder, as squares of `size` pixels."""
    rng = np.random.default_rng(0)
    paths = sorted(glob.glob(os.path.join(folder, "**", "*.*"), recursive=True))
    return [square(read_rgb(path, rng), size) for path in paths[:limit]]


def crop(picture, size, rng):
    """A random square, scaled to `size`; half of them mirrored, a third with another exposure and white balance."""
    height, width = picture.shape[:2]
    shorter = min(height, width)
    side = int(shorter * rng.uniform(0.5, 1.0)) if shorter >= 1.6 * size else int(shorter * rng.uniform(0.8, 1.0))
    y, x = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
    out = picture[y : y + side, x : x + side]
    out = cv2.resize(out, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_CUBIC)
    if rng.random() < 0.5:
        out = out[:, ::-1]
    if rng.random() < 0.35:
        out = np.clip(out.astype(np.float32) * rng.uniform(0.7, 1.25) * rng.uniform(0.9, 1.1, 3), 0, 255).astype(
            np.uint8
        )
    if rng.random() < 0.1:
        out = jitter(rng, out)
    return np.ascontiguousarray(out)


def sources(specs):
    """[(weight, files)] of "weight=pattern" arguments."""
    found = []
    for spec in specs:
        weight, pattern = spec.split("=", 1)
        files = sorted(glob.glob(pattern, recursive=True))
        if not files:
            raise SystemExit(f"{pattern}: got no file, expected pictures")
        found.append((float(weight), files))
    return found


class Shards:
    """The pictures of all shards, memory-mapped; shards may arrive while training runs."""

    def __init__(self, folders):
        self.folders, self.parts = folders, []
        self.refresh()

    def refresh(self):
        known = {path for path, *_ in self.parts}
        for folder in self.folders:
            for path in sorted(glob.glob(os.path.join(folder, "*", "style.npy"))):
                if path not in known:
                    part = os.path.dirname(path)
                    arrays = (np.load(os.path.join(part, f"{name}.npy"), mmap_mode="r") for name in ("photo", "styled"))
                    self.parts.append((path, *arrays, np.load(path)))
        if not self.parts:
            raise SystemExit(f"{', '.join(self.folders)}: got no shards, expected some of dataset.py")

    def __len__(self):
        return sum(len(photo) for _, photo, *_ in self.parts)


def write_shard(folder, args, found, rng):
    weights = np.array([w for w, _ in found])
    photo = np.empty((args.crops, args.size, args.size, 3), np.uint8)
    styled = np.empty((args.crops * args.styles, args.size, args.size, 3), np.uint8)
    style, queue, made = [], [], 0
    while made < args.crops:
        if rng.random() < args.drawings:
            picture = drawing(rng, args.size)
        else:
            files = found[rng.choice(len(found), p=weights / weights.sum())][1]
            picture = read_rgb(files[rng.integers(len(files))], rng)
            if picture is None or min(picture.shape[:2]) < 100:
                continue
            picture = crop(picture, args.size, rng)
        if len(queue) < args.styles:
            queue += list(1 + rng.permutation(len(NAMES) - 1))  # the plain photo needs no second picture
        chosen, queue = queue[: args.styles], queue[args.styles :]
        photo[made] = picture
        for j, k in enumerate(chosen):
            styled[made * args.styles + j] = STYLES[NAMES[k]](picture)
        style += chosen
        made += 1
    os.makedirs(folder + ".part", exist_ok=True)
    for name, values in (("photo", photo), ("styled", styled), ("style", np.array(style, np.int16))):
        np.save(os.path.join(folder + ".part", name + ".npy"), values)
    os.rename(folder + ".part", folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--source", action="append", required=True, help="weight=pattern of files; may be given many times"
    )
    parser.add_argument("--out", required=True, help="folder of the shards; those there are kept")
    parser.add_argument("--first", type=int, default=0, help="number of the first shard: it seeds the shard")
    parser.add_argument("--shards", type=int, default=10)
    parser.add_argument("--crops", type=int, default=200, help="crops in a shard")
    parser.add_argument("--styles", type=int, default=6, help="styles of each crop")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--drawings", type=float, default=0.12, help="share of crops that are drawings")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    found = sources(args.source)
    os.makedirs(args.out, exist_ok=True)
    for number in range(args.first, args.first + args.shards):
        folder = os.path.join(args.out, f"{number:04}")
        if os.path.exists(folder):
            continue
        began = time.time()
        write_shard(folder, args, found, np.random.default_rng(1000 + number))
        print(f"{folder}: {args.crops} crops, {time.time() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
