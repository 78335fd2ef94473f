"""Runs the demo model's networks in diffusers, with fixed inputs; writes what the tests compare with, channels-last.

    python tests/golden/generate/demo.py

Needs torch, diffusers, transformers and safetensors.
"""

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextModel, CLIPTokenizer

PROMPT = "a watercolor painting of a village at night"
repository = Path(__file__).parents[3]
model = repository / "models/demo/dreamframe-tiny"


def part(kind, name):
    return kind.from_pretrained(model / name, torch_dtype=torch.float32).eval()


def last(x):
    """Channels last."""
    return x.permute(0, 2, 3, 1).contiguous()


def waves(side):
    """A picture of waves in -1..1, each channel with its own."""
    y, x = np.mgrid[0:side, 0:side] / side
    phases = ((7, 2, 0.0), (3, 9, 1.0), (12, 5, 2.0))
    channels = [np.sin(2 * np.pi * (a * x + b * y) + c) * np.exp(-2 * (x - 0.5) ** 2) for a, b, c in phases]
    return torch.from_numpy(np.stack(channels)[None]).float()


ids = CLIPTokenizer.from_pretrained(model / "tokenizer")(
    PROMPT, padding="max_length", max_length=77, return_tensors="pt"
).input_ids
text, unet, vae = part(CLIPTextModel, "text_encoder"), part(UNet2DConditionModel, "unet"), part(AutoencoderTiny, "vae")
noise = torch.randn(1, unet.config.in_channels, 16, 16, generator=torch.Generator().manual_seed(0))
timesteps = torch.tensor([599])
picture = waves(64)
with torch.no_grad():
    states = text(ids).last_hidden_state
    eps = unet(noise, timesteps, states).sample
    latent = vae.encode(picture).latents
    decoded = vae.decode(latent).sample

golden = {
    "text_encoder.input_ids": ids.int(),
    "text_encoder.last": states,
    "unet.sample": last(noise),
    "unet.timesteps": timesteps.int(),
    "unet.encoder_hidden_states": states.clone(),
    "unet.eps": last(eps),
    "vae.picture": last(picture),
    "vae.latent": last(latent),
    "vae.decoded": last(decoded),
}
folder = Path(__file__).parents[1] / "demo"
folder.mkdir(exist_ok=True)
save_file({name: value.contiguous() for name, value in golden.items()}, folder / "golden.safetensors")
