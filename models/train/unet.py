"""Train the text encoder and the UNet to restyle noised latents according to the prompt.

x_t = a z_mix + b noise, where z_mix lies between the photo's latents and the styled picture's. The network predicts the
noise and is scored on x0 = (x_t - b eps) / a against the styled latents, with a weight that flattens at high noise; in
the second half of training a part of the steps is scored on decoded pictures, too. Time that a stopped process does not
use does not count; a run continues from its checkpoint.
"""

import os

import numpy as np
import torch
from diffusers import AutoencoderTiny
from diffusers.models.attention_processor import AttnProcessor

from autoencoder import picture_loss
from diffusion import Schedule, latent_loss, tokens
from model import build_text_encoder, build_unet, identity_start, write_tokenizer
from samples import Samples
from training import Training, autocast, launch, options, quick_backward, to_signed


def mixed(photo, target):
    """Most often the photo, sometimes the target, else between: what a stage of the stream may be given."""
    lam, u = torch.rand(len(photo), 1, 1, 1), torch.rand(len(photo), 1, 1, 1)
    lam = torch.where(u < 0.55, torch.ones_like(lam), torch.where(u < 0.66, torch.zeros_like(lam), lam))
    return lam.to(photo) * photo + (1 - lam.to(photo)) * target


class Trainer:
    def __init__(self, args):
        self.args, self.device = args, torch.device(args.device)
        self.tokenizer = write_tokenizer(args.bpe, os.path.join(args.out, "tokenizer"), args.merges)
        text = build_text_encoder(self.tokenizer)
        unet = build_unet(tuple(args.widths), args.layers, text.config.hidden_size)
        identity_start(unet)
        if self.device.type == "cpu":
            unet.set_attn_processor(AttnProcessor())  # its backward pass is faster at these sizes
            quick_backward(unet)
        unet.to(memory_format=torch.channels_last)
        self.both = torch.nn.ModuleDict({"unet": unet, "text": text}).to(self.device)
        vae = AutoencoderTiny.from_pretrained(args.vae).eval().requires_grad_(False)
        self.decoder = vae.to(self.device, memory_format=torch.channels_last)
        self.schedule = Schedule(self.device, args.inner, args.inner_share)
        self.training = Training(self.both, args, args.ema)
        self.rng = self.training.rng
        self.samples = Samples(args.data, self.rng)
        print(
            f"{len(self.samples.rows)} styled pictures, {sum(p.numel() for p in unet.parameters()) / 1e6:.2f} M "
            f"parameters of the UNet, {sum(p.numel() for p in text.parameters()) / 1e6:.2f} M of the text encoder",
            flush=True,
        )

    def save(self):
        self.training.save(widths=self.args.widths, layers=self.args.layers)

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
        progress = self.training.clock.progress
        if progress > 0.5 and self.rng.random() < self.args.picture_share:
            return max(2, self.args.batch // 6), self.args.crop, True
        if progress > 0.8 and self.rng.random() < 0.5:
            return max(2, self.args.batch * self.args.crop**2 // self.samples.side**2), self.samples.side, False
        return self.args.batch, self.args.crop, False

    def picture_loss(self, x0, drawn):
        """Of each sample: the decoded latents against the pictures."""
        with autocast(self.device):
            decoded = self.decoder.decode(x0.contiguous(memory_format=torch.channels_last)).sample
        target = to_signed(np.stack(drawn), self.device)
        return picture_loss(decoded.float().contiguous(), target.contiguous(), self.args.energy)

    def step(self):
        args = self.args
        n, size, pictures = self.sizes()
        rest = {} if pictures else {"weak": args.weak_share, "mixture": args.mixture_share}
        batch = self.samples.draw(n, size, photo=args.photo_share, **rest)
        photo, target = batch.tensors(self.device)
        with autocast(self.device):
            words = self.both["text"](tokens(self.tokenizer, batch.prompts, self.device)).last_hidden_state
        t = self.schedule.pick(n, 659 if pictures else 999)
        given = mixed(photo, target)
        if self.training.clock.progress > 0.3 and self.rng.random() < args.rollout:
            own = self.first_stage(photo, t, words.detach())
            given = torch.where(torch.rand(n, 1, 1, 1, device=self.device) < 0.6, own, given)
        a, b = self.schedule.at(t)
        silent = torch.rand(n, 1, 1, 1, device=self.device) < args.silent_share  # `do_add_noise` off
        x0 = self.predict(a * given + b * torch.where(silent, 0.0, torch.randn_like(given)), t, words)
        loss, error, weight = latent_loss(x0, target, a, b)
        figures = {
            f"error_{name}": error[(t >= low) & (t < high)].mean().item()
            for name, low, high in (("low", 0, 120), ("middle", 120, 400), ("high", 400, 700))
        }
        if pictures:
            seen = self.picture_loss(x0, batch.drawn)
            figures["picture"] = seen.mean().item()
            loss = loss + args.picture_weight * (weight * seen).mean()
        self.training.learn(loss, **figures)


def main():
    parser = options(__doc__, minutes=600, batch=48, rate=1.2e-3)
    parser.add_argument("--vae", required=True, help="folder of the autoencoder that encoded them")
    parser.add_argument("--bpe", required=True, help="CLIP's bpe_simple_vocab_16e6.txt.gz")
    parser.add_argument("--crop", type=int, default=16, help="side of a crop in latents")
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
    parser.add_argument("--energy", type=float, default=1.0, help="weight of the loss against blur, of pictures")
    parser.add_argument("--inner", type=int, nargs=2, default=[20, 400], help="timesteps that get most of the samples")
    parser.add_argument("--inner-share", type=float, default=0.6)
    launch(Trainer, parser.parse_args())


if __name__ == "__main__":
    main()
