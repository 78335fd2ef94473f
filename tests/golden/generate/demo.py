"""Cuts the goldens that were made with the demo model's training down to what the tests read, channels-last.

    python tests/golden/generate/demo.py MODEL_GOLDEN VAE_GOLDEN

The first holds a fixed pass of text encoder and UNet, the second one of the autoencoder. That has its decoded picture in
half precision, too coarse here, so it is made again from the same latent. Needs torch, diffusers and safetensors.
"""

import sys
from pathlib import Path

import torch
from diffusers import AutoencoderTiny
from safetensors.torch import load_file, save_file

model, vae = (load_file(path) for path in sys.argv[1:3])


def last(x):
    """Channels last."""
    return x.permute(0, 2, 3, 1).contiguous()


repository = Path(__file__).parents[3]
autoencoder = AutoencoderTiny.from_pretrained(repository / "models/demo/dreamframe-tiny/vae").float()
with torch.no_grad():
    decoded = autoencoder.decode(vae["latents"]).sample
assert (decoded - vae["output"]).abs().max() < 1e-3

golden = {
    "text_encoder.input_ids": model["input_ids"],
    "text_encoder.last": model["text_hidden"],
    "unet.sample": last(model["unet_in"]),
    "unet.timesteps": model["timestep"],
    "unet.encoder_hidden_states": model["text_hidden"].clone(),
    "unet.eps": last(model["unet_out"]),
    "vae.picture": last(vae["input"]),
    "vae.latent": last(vae["latents"]),
    "vae.decoded": last(decoded),
}
folder = Path(__file__).parents[1] / "demo"
folder.mkdir(exist_ok=True)
save_file(golden, folder / "golden.safetensors")
