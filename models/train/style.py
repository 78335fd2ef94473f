"""Train an IP-Adapter of the demo model with a small image encoder: a picture in place of style words.

The frozen UNet gets keys and values for a few image tokens beside those of the text; the reference is another picture
that was drawn in the style of the target. The files are those of the published adapters.
"""

import argparse
import json
import os

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextModel, CLIPTokenizer, CLIPVisionConfig, CLIPVisionModelWithProjection

from prompts import SUBJECTS
from samples import Samples
from training import Clock, Log, autocast, save
from unet import Schedule

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class ImageAttention(torch.nn.Module):
    """The attention processor of a cross-attention layer: text, and image tokens with keys and values of their own."""

    def __init__(self, width, words):
        super().__init__()
        self.to_k_ip = torch.nn.Linear(words, width, bias=False)
        self.to_v_ip = torch.nn.Linear(words, width, bias=False)
        torch.nn.init.zeros_(self.to_v_ip.weight)
        self.image = None

    def __call__(self, attn, x, encoder_hidden_states=None, attention_mask=None, temb=None):
        def heads(h):
            return h.view(len(h), -1, attn.heads, h.shape[-1] // attn.heads).transpose(1, 2)

        q = heads(attn.to_q(x))
        mixed = F.scaled_dot_product_attention(
            q, heads(attn.to_k(encoder_hidden_states)), heads(attn.to_v(encoder_hidden_states))
        )
        mixed = mixed + F.scaled_dot_product_attention(
            q, heads(self.to_k_ip(self.image)), heads(self.to_v_ip(self.image))
        )
        return attn.to_out[0](mixed.transpose(1, 2).flatten(2))


class Adapter(torch.nn.Module):
    def __init__(self, unet, tokens=4):
        super().__init__()
        words, side = unet.config.cross_attention_dim, 128
        self.tokens, self.words = tokens, words
        self.encoder = CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                hidden_size=128,
                intermediate_size=256,
                num_hidden_layers=3,
                num_attention_heads=4,
                image_size=side,
                patch_size=16,
                projection_dim=128,
                hidden_act="quick_gelu",
                initializer_factor=1.0,
            )
        )
        self.proj = torch.nn.Linear(128, tokens * words)
        self.norm = torch.nn.LayerNorm(words)
        self.layers = torch.nn.ModuleList()
        self.names = []
        processors = unet.attn_processors
        for index, name in enumerate(processors):
            if name.endswith("attn2.processor"):
                layer = ImageAttention(unet.get_submodule(name.removesuffix(".processor")).to_q.out_features, words)
                processors[name] = layer
                self.layers.append(layer)
                self.names.append(index)
        unet.set_attn_processor(processors)

    def look(self, picture, present):
        """Image tokens of pictures in 0..1 for all layers; none of a picture counts where `present` is 0."""
        mean, std = (torch.tensor(v, device=picture.device).view(1, 3, 1, 1) for v in (MEAN, STD))
        features = self.encoder((picture - mean) / std).image_embeds * present
        tokens = self.norm(self.proj(features).view(len(picture), self.tokens, self.words))
        for layer in self.layers:
            layer.image = tokens

    def write(self, folder):
        """The adapter in the published layout, and its image encoder beside it."""
        tensors = {
            "image_proj.proj.weight": self.proj.weight,
            "image_proj.proj.bias": self.proj.bias,
            "image_proj.norm.weight": self.norm.weight,
            "image_proj.norm.bias": self.norm.bias,
        }
        for index, layer in zip(self.names, self.layers):
            tensors[f"ip_adapter.{index}.to_k_ip.weight"] = layer.to_k_ip.weight
            tensors[f"ip_adapter.{index}.to_v_ip.weight"] = layer.to_v_ip.weight
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, "ip-adapter.safetensors")
        save_file({k: v.detach().half().contiguous() for k, v in tensors.items()}, path)
        encoder = os.path.join(folder, "image_encoder")
        self.encoder.half().save_pretrained(encoder)
        self.encoder.float()
        print(
            json.dumps({f: os.path.getsize(f) for f in (path, os.path.join(encoder, "model.safetensors"))}), flush=True
        )


class Trainer:
    def __init__(self, args):
        def part(name):
            return os.path.join(args.model, name)

        self.args, self.device, self.rng = args, torch.device(args.device), np.random.default_rng(args.seed)
        torch.manual_seed(args.seed)
        self.samples = Samples(args.data, self.rng)
        self.tokenizer = CLIPTokenizer.from_pretrained(part("tokenizer"))
        self.text = (
            CLIPTextModel.from_pretrained(part("text_encoder"), torch_dtype=torch.float32).eval().to(self.device)
        )
        unet = UNet2DConditionModel.from_pretrained(part("unet"), torch_dtype=torch.float32).requires_grad_(False)
        self.adapter = Adapter(unet).to(self.device)
        self.unet = unet.to(self.device, memory_format=torch.channels_last)
        self.optimiser = torch.optim.AdamW(self.adapter.parameters(), betas=(0.9, 0.99), weight_decay=0.01)
        self.clock, self.schedule = Clock(args.minutes, args.rate), Schedule(self.device, (20, 400), 0.6)
        self.checkpoint = os.path.join(args.out, "checkpoint.pt")
        if os.path.exists(self.checkpoint):
            state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
            self.adapter.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.clock.used, self.clock.steps = state["used"], state["steps"]

    def references(self, styles):
        """Another picture of each style, scaled as an image encoder's input."""
        out = []
        for style in styles:
            shard = self.samples.shards[self.rng.integers(len(self.samples.shards))]
            picture = shard["styled"][self.rng.choice(np.flatnonzero(shard["style"] == style))]
            out.append(cv2.resize(picture, (128, 128), interpolation=cv2.INTER_CUBIC))
        return torch.from_numpy(np.stack(out)).to(self.device).permute(0, 3, 1, 2).float() / 255

    def step(self):
        n = self.args.batch
        batch = self.samples.draw(n, self.args.crop)
        photo, target = batch.tensors(self.device)
        prompts = ["" if self.rng.random() < 0.5 else str(self.rng.choice(SUBJECTS)) for _ in range(n)]
        ids = self.tokenizer(
            prompts, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
        ).input_ids
        present = (torch.rand(n, 1, device=self.device) < 0.9).float()
        target = torch.where(present.view(-1, 1, 1, 1) > 0, target, photo)
        t = self.schedule.pick(n, 799)
        a, b = self.schedule.at(t)
        x = (a * photo + b * torch.randn_like(photo)).contiguous(memory_format=torch.channels_last)
        with autocast(self.device):
            with torch.no_grad():
                words = self.text(ids.to(self.device)).last_hidden_state
            self.adapter.look(self.references(batch.styles), present)
            eps = self.unet(x, t, words).sample
        gap = (x - b * eps.float()) / a - target
        weight = torch.clamp(2.3 * a / b, max=1.0).flatten()
        loss = (weight * (torch.sqrt(gap * gap + 0.25) - 0.5).mean((1, 2, 3))).mean()
        for group in self.optimiser.param_groups:
            group["lr"] = self.clock.current_rate()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.adapter.parameters(), 1.0)
        self.optimiser.step()
        self.clock.tick()
        return {"loss": loss.item(), "error": gap.detach().pow(2).mean().item()}

    def export(self):
        save(
            self.checkpoint,
            {
                "model": self.adapter.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "steps": self.clock.steps,
                "used": self.clock.used,
            },
        )
        self.adapter.write(os.path.join(self.args.out, "style"))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, nargs="+", help="folders of encoded shards")
    parser.add_argument("--model", required=True, help="folder of the model, written by export.py")
    parser.add_argument("--out", required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--crop", type=int, default=16, help="side of a crop in latents")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    trainer, log = Trainer(args), Log(os.path.join(args.out, "log.jsonl"))
    while trainer.clock.progress < 1:
        log.add(**trainer.step())
        if trainer.clock.steps % 50 == 0:
            log.write(step=trainer.clock.steps, minutes=round(trainer.clock.used / 60, 1))
        if trainer.clock.steps % 500 == 0:
            trainer.export()
    trainer.export()


if __name__ == "__main__":
    main()
