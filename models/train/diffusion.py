"""Noise, timesteps and the loss of the latents; and a trained model whose weights are kept."""

import os

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from transformers import CLIPTextModel, CLIPTokenizer

from model import scheduler
from training import autocast, quick_backward


class Schedule:
    """The noise of each timestep, and which timesteps training asks for."""

    def __init__(self, device, inner, share):
        abar = scheduler().alphas_cumprod.to(device)
        self.a, self.b, self.device = abar.sqrt(), (1 - abar).sqrt(), device
        self.inner, self.share = inner, share

    def pick(self, n, last=999):
        grid = torch.randint(0, (last + 1) // 20, (n,), device=self.device)
        inner = torch.randint(self.inner[0] // 20, min(self.inner[1], last + 1) // 20, (n,), device=self.device)
        return torch.where(torch.rand(n, device=self.device) < self.share, inner, grid) * 20 + 19

    def at(self, t):
        return self.a[t].view(-1, 1, 1, 1), self.b[t].view(-1, 1, 1, 1)


def tokens(tokenizer, prompts, device):
    words = tokenizer(prompts, padding="max_length", max_length=77, truncation=True, return_tensors="pt")
    return words.input_ids.to(device)


def latent_loss(x0, target, a, b):
    """Pseudo-Huber loss of latents, weighted less at high noise; their mean squared errors; and the weights."""
    gap, weight = x0 - target, torch.clamp(2.3 * a / b, max=1.0).flatten()
    loss = (weight * (torch.sqrt(gap * gap + 0.25) - 0.5).mean((1, 2, 3))).mean()
    return loss, gap.detach().pow(2).mean((1, 2, 3)), weight


class Frozen:
    """The text encoder and UNet of an exported model, to which something is trained."""

    def __init__(self, folder, device):
        def part(kind, name):
            network = kind.from_pretrained(os.path.join(folder, name), torch_dtype=torch.float32)
            return network.eval().requires_grad_(False).to(device)

        self.device = torch.device(device)
        self.tokenizer = CLIPTokenizer.from_pretrained(os.path.join(folder, "tokenizer"))
        self.text = part(CLIPTextModel, "text_encoder")
        self.unet = part(UNet2DConditionModel, "unet").to(memory_format=torch.channels_last)
        if self.device.type == "cpu":
            self.unet.set_attn_processor(AttnProcessor())
            quick_backward(self.unet)

    @torch.no_grad()
    def words(self, prompts):
        return self.text(tokens(self.tokenizer, prompts, self.device)).last_hidden_state

    def noised(self, latents, schedule, last=799):
        """Latents at random timesteps: x_t, the timesteps, and the shares of latents and noise."""
        t = schedule.pick(len(latents), last)
        a, b = schedule.at(t)
        x = a * latents + b * torch.randn_like(latents)
        return x.contiguous(memory_format=torch.channels_last), t, a, b

    def loss(self, noised, words, target, **residuals):
        """The loss of the predicted latents, and their mean squared error."""
        x, t, a, b = noised
        with autocast(self.device):
            eps = self.unet(x, t, words, **residuals).sample
        loss, error, _ = latent_loss((x - b * eps.float()) / a, target, a, b)
        return loss, error.mean().item()
