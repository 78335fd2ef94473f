"""Train a LoRA of the demo model: a style that the base model does not know, for any prompt.

The file has kohya's names, which all programs read. The pictures of the style are drawn and encoded on the spot.
"""

import argparse
import os

import numpy as np
import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from safetensors.torch import save_file
from transformers import CLIPTextModel, CLIPTokenizer

from prompts import SUBJECTS, make_prompt
from samples import Samples
from styles.extra import EXTRA
from training import Clock, Log, autocast, to_signed
from unet import Schedule


class LowRank(torch.nn.Module):
    """A layer with a product of two small layers added."""

    def __init__(self, layer, rank):
        super().__init__()
        self.layer = layer
        if isinstance(layer, torch.nn.Conv2d):
            shape = dict(stride=layer.stride, padding=layer.padding, bias=False)
            self.down = torch.nn.Conv2d(layer.in_channels, rank, layer.kernel_size, **shape)
            self.up = torch.nn.Conv2d(rank, layer.out_channels, 1, bias=False)
        else:
            self.down = torch.nn.Linear(layer.in_features, rank, bias=False)
            self.up = torch.nn.Linear(rank, layer.out_features, bias=False)
        torch.nn.init.zeros_(self.up.weight)

    def forward(self, x):
        return self.layer(x) + self.up(self.down(x))


def wrap(unet, rank):
    """Adds low-rank layers to the convolutions and linear layers from the middle of the UNet on, and returns them."""
    found = {}
    for name, layer in list(unet.named_modules()):
        inside = name.startswith(("mid_block.", "up_blocks."))
        if (
            inside
            and isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d))
            and "time_emb" not in name
            and "lora" not in name
        ):
            parent = unet.get_submodule(name.rsplit(".", 1)[0])
            found[name] = LowRank(layer, rank)
            setattr(parent, name.rsplit(".", 1)[1], found[name]) if not name.rsplit(".", 1)[
                1
            ].isdigit() else parent.__setitem__(int(name.rsplit(".", 1)[1]), found[name])
    return found


def write(path, layers, rank):
    tensors = {}
    for name, layer in layers.items():
        key = "lora_unet_" + name.replace(".", "_")
        tensors[f"{key}.lora_down.weight"] = layer.down.weight.detach().half().contiguous()
        tensors[f"{key}.lora_up.weight"] = layer.up.weight.detach().half().contiguous()
        tensors[f"{key}.alpha"] = torch.tensor(float(rank)).half()
    save_file(tensors, path)
    print(f"{path}: {os.path.getsize(path)} bytes, {len(layers)} layers", flush=True)


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
        self.vae = AutoencoderTiny.from_pretrained(part("vae"), torch_dtype=torch.float32).eval().to(self.device)
        unet = UNet2DConditionModel.from_pretrained(part("unet"), torch_dtype=torch.float32).requires_grad_(False)
        if self.device.type == "cpu":
            unet.set_attn_processor(AttnProcessor())
        self.layers = wrap(unet, args.rank)
        self.unet = unet.to(self.device, memory_format=torch.channels_last)
        self.parameters = [
            p for layer in self.layers.values() for p in (*layer.down.parameters(), *layer.up.parameters())
        ]
        self.optimiser = torch.optim.AdamW(self.parameters, betas=(0.9, 0.99), weight_decay=0.0)
        self.clock, self.schedule = Clock(args.minutes, args.rate, 50), Schedule(self.device, (20, 400), 0.6)

    def prompts(self, n):
        """Subjects alone, or with a style of the base model, which the LoRA has to win over."""
        choose = self.rng.choice
        return [
            str(choose(SUBJECTS)) if self.rng.random() < 0.7 else make_prompt(str(choose(["oil", "pencil", "night"])))
            for _ in range(n)
        ]

    def step(self):
        n = self.args.batch
        batch = self.samples.draw(n, self.args.crop)
        photo, _ = batch.tensors(self.device)
        drawn = np.stack([EXTRA[self.args.style](np.ascontiguousarray(p)) for p in batch.photos])
        with torch.no_grad(), autocast(self.device):
            target = self.vae.encode(to_signed(drawn, self.device)).latents.float()
            ids = self.tokenizer(
                self.prompts(n), padding="max_length", max_length=77, truncation=True, return_tensors="pt"
            )
            words = self.text(ids.input_ids.to(self.device)).last_hidden_state
        t = self.schedule.pick(n, 799)
        a, b = self.schedule.at(t)
        x = (a * photo + b * torch.randn_like(photo)).contiguous(memory_format=torch.channels_last)
        with autocast(self.device):
            eps = self.unet(x, t, words).sample
        gap = (x - b * eps.float()) / a - target
        weight = torch.clamp(2.3 * a / b, max=1.0).flatten()
        loss = (weight * (torch.sqrt(gap * gap + 0.25) - 0.5).mean((1, 2, 3))).mean()
        for group in self.optimiser.param_groups:
            group["lr"] = self.clock.current_rate()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        self.clock.tick()
        return {"loss": loss.item(), "error": gap.detach().pow(2).mean().item()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, nargs="+", help="folders of encoded shards")
    parser.add_argument("--model", required=True, help="folder of the model, written by export.py")
    parser.add_argument("--style", required=True, choices=EXTRA)
    parser.add_argument("--out", required=True, help="file to write")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--crop", type=int, default=16, help="side of a crop in latents")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    trainer, log = Trainer(args), Log(args.out + ".jsonl")
    while trainer.clock.progress < 1:
        log.add(**trainer.step())
        if trainer.clock.steps % 50 == 0:
            log.write(step=trainer.clock.steps, minutes=round(trainer.clock.used / 60, 1))
    write(args.out, trainer.layers, args.rank)


if __name__ == "__main__":
    main()
