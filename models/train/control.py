"""Train a ControlNet of the demo model: the frozen UNet draws along the lines of a control image.

In a part of the samples the photo is reduced to its rough colours, so that structure can come from the control image
alone. Timesteps with much noise, at which the photo's lines are lost, get most of the samples.
"""

import argparse
import os

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from diffusers import ControlNetModel, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from transformers import CLIPTextModel, CLIPTokenizer

from samples import Samples
from training import Average, Clock, Log, Muon, autocast, save
from unet import Schedule

EMBEDDING = (8, 16, 32, 64)


def canny(picture, rng):
    """Edges as the processor `canny` finds them, with thresholds around its defaults; white on black."""
    low = rng.uniform(60, 140)
    edges = cv2.Canny(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), low, 2 * low)
    return np.repeat(edges[..., None], 3, -1)


def soft_edge(picture, rng):
    """Wide, graded contours of the larger shapes, as edge networks draw them."""
    gray = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (0, 0), rng.uniform(1.0, 2.0)).astype(np.float32)
    strength = np.hypot(cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1))
    edges = cv2.GaussianBlur(np.clip(strength * rng.uniform(2.0, 4.0), 0, 255), (0, 0), rng.uniform(0.5, 1.5))
    return np.repeat(edges[..., None].astype(np.uint8), 3, -1)


CONTROLS = {"canny": canny, "softedge": soft_edge}


def rough(latents):
    """The colours of a latent picture without its lines."""
    return F.interpolate(F.avg_pool2d(latents, 8), scale_factor=8, mode="bilinear")


class Trainer:
    def __init__(self, args):
        self.args, self.device, self.rng = args, torch.device(args.device), np.random.default_rng(args.seed)
        self.samples = Samples(args.data, self.rng)
        self.tokenizer = CLIPTokenizer.from_pretrained(os.path.join(args.model, "tokenizer"))
        text = CLIPTextModel.from_pretrained(os.path.join(args.model, "text_encoder"), torch_dtype=torch.float32)
        unet = UNet2DConditionModel.from_pretrained(os.path.join(args.model, "unet"), torch_dtype=torch.float32)
        self.net = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=EMBEDDING)
        if self.device.type == "cpu":
            unet.set_attn_processor(AttnProcessor())
            self.net.set_attn_processor(AttnProcessor())
        self.text = text.eval().requires_grad_(False).to(self.device)
        self.unet = unet.eval().requires_grad_(False).to(self.device, memory_format=torch.channels_last)
        self.net.to(self.device, memory_format=torch.channels_last)
        self.optimiser = Muon(self.net.named_parameters(), args.rate)
        self.average, self.clock = Average(self.net, 0.998), Clock(args.minutes, args.rate)
        self.schedule = Schedule(self.device, args.inner, args.inner_share)
        self.log, self.checkpoint = Log(os.path.join(args.out, "log.jsonl")), os.path.join(args.out, "checkpoint.pt")
        if os.path.exists(self.checkpoint):
            state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
            self.net.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.average.values, self.average.steps = state["average"], state["steps"]
            self.clock.used, self.clock.steps = state["used"], state["steps"]
        torch.manual_seed(args.seed + self.clock.steps)

    def export(self):
        save(
            self.checkpoint,
            {
                "model": self.net.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "average": self.average.values,
                "steps": self.clock.steps,
                "used": self.clock.used,
            },
        )
        out = ControlNetModel.from_config(self.net.config)
        out.load_state_dict(self.average.values)
        out.half().save_pretrained(os.path.join(self.args.out, "controlnet"))

    def step(self):
        args, n, size = self.args, self.args.batch, self.args.crop
        batch = self.samples.draw(n, size, photo=args.photo_share)
        photo, target = batch.tensors(self.device)
        control = np.stack([CONTROLS[args.control](p, self.rng) for p in batch.photos])
        control = torch.from_numpy(control).to(self.device).permute(0, 3, 1, 2).float() / 255
        ids = self.tokenizer(
            batch.prompts, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
        ).input_ids
        with torch.no_grad():
            words = self.text(ids.to(self.device)).last_hidden_state
        t = self.schedule.pick(n, 799)
        a, b = self.schedule.at(t)
        given = torch.where(torch.rand(n, 1, 1, 1, device=self.device) < args.rough_share, rough(photo), photo)
        x = (a * given + b * torch.randn_like(given)).contiguous(memory_format=torch.channels_last)
        scale = torch.where(torch.rand(n, 1, 1, 1, device=self.device) < 0.9, 1.0, 0.0)  # a black image has no say
        with autocast(self.device):
            down, middle = self.net(x, t, words, control * scale, return_dict=False)
            eps = self.unet(
                x, t, words, down_block_additional_residuals=down, mid_block_additional_residual=middle
            ).sample
        gap = (x - b * eps.float()) / a - target
        weight = torch.clamp(2.3 * a / b, max=1.0).flatten()
        loss = (weight * (torch.sqrt(gap * gap + 0.25) - 0.5).mean((1, 2, 3))).mean()
        for group in self.optimiser.param_groups:
            group["lr"] = self.clock.current_rate()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if torch.isfinite(torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)):
            self.optimiser.step()
        self.average.update(self.net)
        self.clock.tick()
        self.log.add(loss=loss.item(), error=gap.detach().pow(2).mean().item())

    def run(self):
        while self.clock.progress < 1:
            self.step()
            if self.clock.steps % 50 == 0:
                self.log.write(step=self.clock.steps, minutes=round(self.clock.used / 60, 1))
            if self.clock.steps % 500 == 0:
                self.export()
        self.export()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, nargs="+", help="folders of encoded shards")
    parser.add_argument("--model", required=True, help="folder of the model, written by export.py")
    parser.add_argument("--control", required=True, choices=CONTROLS)
    parser.add_argument("--out", required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--crop", type=int, default=16, help="side of a crop in latents")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--photo-share", type=float, default=0.1)
    parser.add_argument("--rough-share", type=float, default=0.4, help="share of samples whose photo has no lines")
    parser.add_argument("--inner", type=int, nargs=2, default=[300, 700])
    parser.add_argument("--inner-share", type=float, default=0.6)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    Trainer(args).run()


if __name__ == "__main__":
    main()
