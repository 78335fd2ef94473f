"""Train a LoRA of the demo model: a style that the base model does not know, for any prompt.

The file has kohya's names, which all programs read. The pictures of the style are drawn and encoded on the spot.
"""

import os

import numpy as np
import torch
from diffusers import AutoencoderTiny
from safetensors.torch import save_file

from diffusion import Frozen, Schedule
from export import MOST_OF_EXTRAS, stored
from prompts import SUBJECTS, make_prompt
from samples import Samples
from styles.extra import EXTRA
from training import Training, autocast, launch, options, quick_backward, to_signed


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
        tensors[f"{key}.lora_down.weight"] = stored(layer.down.weight.detach(), MOST_OF_EXTRAS).contiguous()
        tensors[f"{key}.lora_up.weight"] = stored(layer.up.weight.detach(), MOST_OF_EXTRAS).contiguous()
        tensors[f"{key}.alpha"] = torch.tensor(float(rank)).half()
    save_file(tensors, path)
    print(f"{path}: {os.path.getsize(path)} bytes, {len(layers)} layers", flush=True)


class Trainer:
    def __init__(self, args):
        self.args, self.device = args, torch.device(args.device)
        self.base = Frozen(args.model, args.device)
        vae = AutoencoderTiny.from_pretrained(os.path.join(args.model, "vae"), torch_dtype=torch.float32)
        self.vae = vae.eval().requires_grad_(False).to(self.device)
        self.layers = wrap(self.base.unet, args.rank)
        self.base.unet.to(self.device, memory_format=torch.channels_last)
        if self.device.type == "cpu":
            quick_backward(self.base.unet)
        self.schedule = Schedule(self.device, (20, 400), 0.6)
        self.training = Training(torch.nn.ModuleList(self.layers.values()), args, decay=0.0)
        self.samples = Samples(args.data, self.training.rng)

    def prompts(self, n):
        """Subjects alone, or with a style of the base model, which the LoRA has to win over."""
        rng = self.training.rng
        return [
            str(rng.choice(SUBJECTS))
            if rng.random() < 0.7
            else make_prompt(str(rng.choice(["oil", "pencil", "night"])))
            for _ in range(n)
        ]

    def step(self):
        batch = self.samples.draw(self.args.batch, self.args.crop)
        photo, _ = batch.tensors(self.device)
        drawn = np.stack([EXTRA[self.args.style](np.ascontiguousarray(p)) for p in batch.photos])
        with torch.no_grad(), autocast(self.device):
            target = self.vae.encode(to_signed(drawn, self.device)).latents.float()
        noised = self.base.noised(photo, self.schedule)
        loss, error = self.base.loss(noised, self.base.words(self.prompts(len(photo))), target)
        self.training.learn(loss, error=error)

    def save(self):
        self.training.save()
        write(os.path.join(self.args.out, f"{self.args.style}.safetensors"), self.layers, self.args.rank)


def main():
    parser = options(__doc__, minutes=20, batch=24, rate=2e-3)
    parser.add_argument("--model", required=True, help="folder of the model, written by export.py")
    parser.add_argument("--style", required=True, choices=EXTRA)
    parser.add_argument("--crop", type=int, default=16, help="side of a crop in latents")
    parser.add_argument("--rank", type=int, default=8)
    launch(Trainer, parser.parse_args())


if __name__ == "__main__":
    main()
