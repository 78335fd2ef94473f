"""Encode shards of dataset.py with a trained autoencoder; writes latents into the folders of the shards.

photo.f16.npy and styled.f16.npy have the rows of photo.npy and styled.npy as float16 (rows, channels, size / 8,
size / 8); noisy.f16.npy is photo with the noise of a camera, the input from which the clean target has to be drawn.
"""

import argparse
import glob
import os
import time

import numpy as np
import torch
from diffusers import AutoencoderTiny

from training import autocast, to_signed


@torch.inference_mode()
def encode(model, pictures, device, noise=0.0, seed=0):
    """float16 latents; `noise` is the largest standard deviation of a picture's noise, in levels of 0..255."""
    generator, out = torch.Generator().manual_seed(seed), []
    for first in range(0, len(pictures), 16):
        picture = to_signed(pictures[first : first + 16], device)
        if noise:
            spread = noise / 127.5 * torch.rand(len(picture), 1, 1, 1, generator=generator)
            picture = picture + (spread * torch.randn(picture.shape, generator=generator)).to(device)
        with autocast(device):
            latents = model.encode(picture.clamp(-1, 1).contiguous(memory_format=torch.channels_last)).latents
        out.append(latents.float().cpu().numpy().astype(np.float16))
    return np.concatenate(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, nargs="+", help="folders of shards")
    parser.add_argument("--vae", required=True, help="folder of the autoencoder")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--again", action="store_true", help="encode what is encoded already")
    args = parser.parse_args()
    model = AutoencoderTiny.from_pretrained(args.vae).to(args.device, memory_format=torch.channels_last).eval()
    for folder in sorted(
        p for data in args.data for p in glob.glob(os.path.join(data, "*")) if not p.endswith(".part")
    ):
        if os.path.exists(os.path.join(folder, "styled.f16.npy")) and not args.again:
            continue
        began = time.time()
        photo, styled = (np.load(os.path.join(folder, f"{n}.npy"), mmap_mode="r") for n in ("photo", "styled"))
        for name, values in (
            ("photo", encode(model, photo, args.device)),
            ("noisy", encode(model, photo, args.device, noise=6.0)),
            ("styled", encode(model, styled, args.device)),
        ):
            path = os.path.join(folder, f"{name}.f16")
            np.save(path + ".part.npy", values)
            os.replace(path + ".part.npy", path + ".npy")
        print(f"{folder}: {len(photo) + len(styled)} pictures, {time.time() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
