"""Train the text encoder and the UNet to restyle noised latents according to the prompt.

x_t = a z_mix + b noise, where z_mix lies between the photo's latents and the styled picture's. The network predicts the
noise and is scored on x0 = (x_t - b eps) / a against the styled latents, with a weight that flattens at high noise; in
the second half of training a part of the steps is scored on decoded pictures, too. Time that a stopped process does not
use does not count; a run continues from its checkpoint.
"""

import argparse
import os
import random
import time

import numpy as np
import torch
from diffusers import AutoencoderTiny
from diffusers.models.attention_processor import AttnProcessor

from autoencoder import picture_loss
from model import build_text_encoder, build_unet, identity_start, scheduler, write_tokenizer
from samples import Samples
from training import Average, Clock, Log, Muon, autocast, save, to_signed


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


def mixed(photo, target):
    """Most often the photo, sometimes the target, else between: what a stage of the stream may be given."""
    lam, u = torch.rand(len(photo), 1, 1, 1), torch.rand(len(photo), 1, 1, 1)
    lam = torch.where(u < 0.55, torch.ones_like(lam), torch.where(u < 0.66, torch.zeros_like(lam), lam))
    return lam.to(photo) * photo + (1 - lam.to(photo)) * target


class Trainer:
    def __init__(self, args):
        self.args, self.device = args, torch.device(args.device)
        self.rng = np.random.default_rng()
        self.samples = Samples(args.data, self.rng)
        self.tokenizer = write_tokenizer(args.bpe, os.path.join(args.out, "tokenizer"), args.merges)
        text = build_text_encoder(self.tokenizer)
        unet = build_unet(tuple(args.widths), args.layers, text.config.hidden_size)
        identity_start(unet)
        if self.device.type == "cpu":
            unet.set_attn_processor(AttnProcessor())  # its backward pass is faster at these sizes
        self.both = torch.nn.ModuleDict({"unet": unet.to(memory_format=torch.channels_last), "text": text}).to(
            self.device
        )
        vae = AutoencoderTiny.from_pretrained(args.vae).eval().requires_grad_(False)
        self.decoder = vae.to(self.device, memory_format=torch.channels_last)
        self.parameters = list(self.both.parameters())
        self.optimiser = Muon(self.both.named_parameters(), args.rate)
        self.average, self.clock = Average(self.both, args.ema), Clock(args.minutes, args.rate)
        self.schedule = Schedule(self.device, args.inner, args.inner_share)
        self.log = Log(os.path.join(args.out, "log.jsonl"))

    @property
    def checkpoint(self):
        return os.path.join(self.args.out, "checkpoint.pt")

    def load(self):
        if os.path.exists(self.checkpoint):
            state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
            self.both.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.average.values, self.average.steps = state["average"], state["steps"]
            self.clock.used, self.clock.steps = state["used"], state["steps"]

    def seed(self):
        """A run that goes on does not repeat the samples of its beginning."""
        seed = self.args.seed + self.clock.steps
        torch.manual_seed(seed)
        random.seed(seed)
        self.samples.rng = self.rng = np.random.default_rng(seed)

    def save(self):
        save(
            self.checkpoint,
            {
                "model": self.both.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "average": self.average.values,
                "steps": self.clock.steps,
                "used": self.clock.used,
                "widths": self.args.widths,
                "layers": self.args.layers,
            },
        )

    def predict(self, x, t, words):
        with autocast(self.device):
            eps = self.both["unet"](x.contiguous(memory_format=torch.channels_last), t, words).sample
        a, b = self.schedule.at(t)
        return (x - b * eps.float()) / a

    def first_stage(self, photo, t, words):
        """The network's own picture at an earlier timestep, which the second row of a stream is given."""
        earlier = torch.clamp(t + 20 * torch.randint(4, 20, t.shape, device=self.device), max=999)
        a, b = self.schedule.at(earlier)
        with torch.no_grad():
            return self.predict(a * photo + b * torch.randn_like(photo), earlier, words).clamp(-6, 6)

    def sizes(self):
        """Batch, side and whether the step is scored on pictures."""
        late = self.clock.progress > 0.5
        if late and self.rng.random() < self.args.picture_share:
            return max(2, self.args.batch // 6), self.args.crop, True
        if self.clock.progress > 0.8 and self.rng.random() < 0.5:
            return max(2, self.args.batch * self.args.crop**2 // self.samples.side**2), self.samples.side, False
        return self.args.batch, self.args.crop, False

    def step(self):
        args = self.args
        n, size, pictures = self.sizes()
        rest = {} if pictures else {"weak": args.weak_share, "mixture": args.mixture_share}
        batch = self.samples.draw(n, size, photo=args.photo_share, **rest)
        photo, target = batch.tensors(self.device)
        ids = self.tokenizer(
            batch.prompts, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
        ).input_ids
        with autocast(self.device):
            words = self.both["text"](ids.to(self.device)).last_hidden_state
        t = self.schedule.pick(n, 359 if pictures else 999)
        given = mixed(photo, target)
        if self.clock.progress > 0.3 and self.rng.random() < args.rollout:
            own = self.first_stage(photo, t, words.detach())
            given = torch.where(torch.rand(n, 1, 1, 1, device=self.device) < 0.6, own, given)
        a, b = self.schedule.at(t)
        silent = torch.rand(n, 1, 1, 1, device=self.device) < args.silent_share  # `do_add_noise` off
        x0 = self.predict(a * given + b * torch.where(silent, 0.0, torch.randn_like(given)), t, words)
        weight = torch.clamp(2.3 * a / b, max=1.0).flatten()
        gap = x0 - target
        loss = (weight * (torch.sqrt(gap * gap + 0.25) - 0.5).mean((1, 2, 3))).mean()
        power = gap.detach().pow(2).mean((1, 2, 3))
        figures = {"loss": loss.item()} | {
            name: power[(t >= low) & (t < high)].mean().item()
            for name, low, high in (("error_low", 0, 120), ("error_middle", 120, 400), ("error_high", 400, 700))
        }
        if pictures:
            with autocast(self.device):
                decoded = self.decoder.decode(x0.contiguous(memory_format=torch.channels_last)).sample
            seen = picture_loss(decoded.float(), to_signed(np.stack(batch.drawn), self.device))
            figures["picture"] = seen.mean().item()
            loss = loss + args.picture_weight * (weight * seen).mean()
        self.update(loss)
        self.log.add(**figures)

    def update(self, loss):
        for group in self.optimiser.param_groups:
            group["lr"] = self.clock.current_rate()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if torch.isfinite(torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)):
            self.optimiser.step()
        self.average.update(self.both)
        self.clock.tick()

    def run(self):
        saved = time.time()
        while self.clock.progress < 1:
            self.step()
            if self.clock.steps % 50 == 0:
                self.log.write(
                    step=self.clock.steps,
                    minutes=round(self.clock.used / 60, 1),
                    rate=round(self.clock.current_rate(), 6),
                )
            if time.time() - saved > 60 * self.args.save_every:
                self.save()
                saved = time.time()
        self.save()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, nargs="+", help="folders of encoded shards")
    parser.add_argument("--vae", required=True, help="folder of the autoencoder that encoded them")
    parser.add_argument("--bpe", required=True, help="CLIP's bpe_simple_vocab_16e6.txt.gz")
    parser.add_argument("--out", required=True, help="folder of the checkpoint, the log and the tokenizer")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--minutes", type=float, default=600)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--crop", type=int, default=16, help="side of a crop in latents")
    parser.add_argument("--rate", type=float, default=1.2e-3)
    parser.add_argument("--ema", type=float, default=0.9985)
    parser.add_argument("--widths", type=int, nargs="+", default=[96, 96])
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--merges", type=int, default=3000)
    parser.add_argument("--photo-share", type=float, default=0.07, help="share of empty, subject-only or photo prompts")
    parser.add_argument("--weak-share", type=float, default=0.06, help="share of prompts for half of a style")
    parser.add_argument("--mixture-share", type=float, default=0.04, help="share of prompts for two styles")
    parser.add_argument("--silent-share", type=float, default=0.08, help="share of samples without noise")
    parser.add_argument(
        "--rollout", type=float, default=0.2, help="share of steps fed with the first stage's own output"
    )
    parser.add_argument(
        "--picture-share", type=float, default=0.35, help="share of steps scored on decoded pictures, too"
    )
    parser.add_argument("--picture-weight", type=float, default=0.5)
    parser.add_argument("--save-every", type=float, default=5, help="minutes")
    parser.add_argument("--inner", type=int, nargs=2, default=[20, 400], help="timesteps that get most of the samples")
    parser.add_argument("--inner-share", type=float, default=0.6)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main():
    args = arguments()
    os.makedirs(args.out, exist_ok=True)
    trainer = Trainer(args)
    trainer.load()
    trainer.seed()
    print(
        f"{len(trainer.samples.rows)} styled pictures, "
        f"unet {sum(p.numel() for p in trainer.both['unet'].parameters()) / 1e6:.2f} M, "
        f"text encoder {sum(p.numel() for p in trainer.both['text'].parameters()) / 1e6:.2f} M",
        flush=True,
    )
    trainer.run()


if __name__ == "__main__":
    main()
