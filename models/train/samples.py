"""Training samples out of encoded shards: crops of photos, their targets and prompts."""

import glob
import os
from dataclasses import dataclass, field

import numpy as np
import torch

from prompts import make_mixture, make_prompt
from styles import NAMES

# What a sample may ask for: one style, the plain photo, half of a style, two styles at once.
KINDS = ("style", "photo", "weak", "mixture")


@dataclass
class Batch:
    """Latents of photos and targets, (n, channels, size, size); prompts; indices of styles; pictures as uint8."""

    photo: list = field(default_factory=list)
    target: list = field(default_factory=list)
    prompts: list = field(default_factory=list)
    styles: list = field(default_factory=list)
    photos: list = field(default_factory=list)
    drawn: list = field(default_factory=list)

    def tensors(self, device):
        return (torch.from_numpy(np.stack(v).astype(np.float32)).to(device) for v in (self.photo, self.target))


class Samples:
    """Rows of all shards, each once before any comes again."""

    def __init__(self, folders, rng):
        self.rng, self.shards, self.order = rng, [], []
        for path in sorted(p for folder in folders for p in glob.glob(os.path.join(folder, "*", "styled.f16.npy"))):
            shard = os.path.dirname(path)
            arrays = {n: np.load(os.path.join(shard, f"{n}.npy"), mmap_mode="r") for n in ("photo", "styled")}
            arrays |= {f"z_{n}": np.load(os.path.join(shard, f"{n}.f16.npy")) for n in ("photo", "noisy", "styled")}
            self.shards.append(arrays | {"style": np.load(os.path.join(shard, "style.npy"))})
        if not self.shards:
            raise SystemExit(f"{', '.join(folders)}: got no encoded shards, expected some of dataset.py and latents.py")
        self.rows = [(i, j) for i, shard in enumerate(self.shards) for j in range(len(shard["styled"]))]
        self.side = self.shards[0]["z_photo"].shape[-1]

    def next_row(self):
        if not self.order:
            self.order = self.rng.permutation(len(self.rows)).tolist()
        return self.rows[self.order.pop()]

    def draw(self, n, size, **shares):
        """`n` crops of `size` latents at even places; `shares` are the parts of the kinds that are not one style."""
        batch = Batch()
        kinds = self.rng.choice(KINDS, n, p=[1 - sum(shares.values()), *(shares.get(kind, 0.0) for kind in KINDS[1:])])
        for kind in kinds:
            self.add(batch, size, kind)
        return batch

    def add(self, batch, size, kind):
        i, row = self.next_row()
        shard = self.shards[i]
        per = len(shard["styled"]) // len(shard["photo"])
        crop = row // per
        y, x = (2 * self.rng.integers(0, (self.side - size) // 2 + 1, 2)).tolist()
        at, pixels = np.s_[:, y : y + size, x : x + size], np.s_[8 * y : 8 * (y + size), 8 * x : 8 * (x + size)]
        clean, styled = (shard[f"z_{n}"][k][at].astype(np.float32) for n, k in (("photo", crop), ("styled", row)))
        style = int(shard["style"][row])
        if kind == "mixture":
            other = crop * per + (row + 1) % per
            target = (styled + shard["z_styled"][other][at]) / 2
            prompt = make_mixture(NAMES[style], NAMES[shard["style"][other]])
        elif kind == "weak":
            target, prompt = (clean + styled) / 2, make_prompt(NAMES[style], weak=True)
        elif kind == "photo":
            target, prompt = clean, make_prompt("photo")
        else:
            target, prompt = styled, make_prompt(NAMES[style])
        # Only inputs have the noise of a camera: targets are clean.
        batch.photo.append(shard["z_noisy"][crop][at] if self.rng.random() < 0.6 else clean)
        batch.target.append(target)
        batch.prompts.append(prompt)
        batch.styles.append(style)
        batch.photos.append(shard["photo"][crop][pixels])
        batch.drawn.append(batch.photos[-1] if kind == "photo" else shard["styled"][row][pixels])
