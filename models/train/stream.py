"""The steps of a stream with an exported folder, in torch: the reference of the evaluation."""

import os

import numpy as np
import torch
from diffusers import AutoencoderTiny, LCMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from training import to_bytes, to_signed


class Stream:
    """Picture to picture: fixed noise for each row, x0 = (x - b eps) / a."""

    def __init__(self, folder, device="cpu", seed=2):
        def part(name):
            return os.path.join(folder, name)

        self.tokenizer = CLIPTokenizer.from_pretrained(part("tokenizer"))
        self.text = CLIPTextModel.from_pretrained(part("text_encoder"), torch_dtype=torch.float32).to(device).eval()
        self.unet = UNet2DConditionModel.from_pretrained(part("unet"), torch_dtype=torch.float32).to(device).eval()
        self.vae = AutoencoderTiny.from_pretrained(part("vae"), torch_dtype=torch.float32).to(device).eval()
        scheduler = LCMScheduler.from_pretrained(part("scheduler"))
        scheduler.set_timesteps(50)
        self.grid, self.abar = scheduler.timesteps.tolist(), scheduler.alphas_cumprod
        self.device, self.seed = device, seed

    @torch.inference_mode()
    def embed(self, prompts):
        ids = self.tokenizer(
            prompts, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
        ).input_ids
        return self.text(ids.to(self.device))[0]

    @torch.inference_mode()
    def encode(self, pictures):
        return self.vae.encode(to_signed(np.stack(pictures), self.device)).latents

    @torch.inference_mode()
    def decode(self, latents):
        return to_bytes(self.vae.decode(latents).sample.clamp(-1, 1))

    @torch.inference_mode()
    def run(self, latents, words, t_index_list, control=None):
        """The pictures' latents after the steps of a list; `control` is a ControlNet and its images from 0 to 1."""
        generator = torch.Generator().manual_seed(self.seed)
        rows = torch.randn(len(t_index_list), *latents.shape[1:], generator=generator).to(self.device)
        x0 = latents
        for row, index in enumerate(t_index_list):
            t = self.grid[index]
            a, b = self.abar[t].sqrt().item(), (1 - self.abar[t]).sqrt().item()
            x = a * x0 + b * rows[row]
            steps = torch.full((len(x),), t, device=self.device)
            residuals = {}
            if control:
                network, images = control
                down, middle = network(x, steps, words, images, return_dict=False)
                residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
            x0 = (x - b * self.unet(x, steps, encoder_hidden_states=words, **residuals).sample) / a
        return x0
