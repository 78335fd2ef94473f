"""Train the autoencoder of the demo model: 8 x 8 pixels to 16 channels, robust to the noise of the last steps.

Every picture is encoded and decoded, most of them with noise added to their latents: the more noise latents can bear,
the more of the picture survives at the timesteps of the stream.
"""

import os

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from safetensors.torch import load_file

from dataset import Shards, held_out
from styles import STYLES
from training import Training, autocast, launch, options, sharpness, slopes, to_signed

CHANNELS = 16


def build(width=32, encoder=(0, 1, 4, 4), decoder=(4, 4, 2, 0)):
    """No blocks at full size and few at half size, where most of the time of a picture goes."""
    return AutoencoderTiny(
        encoder_block_out_channels=(width,) * 4,
        decoder_block_out_channels=(width,) * 4,
        num_encoder_blocks=encoder,
        num_decoder_blocks=decoder,
        latent_channels=CHANNELS,
        latent_magnitude=3,
        latent_shift=0.5,
        scaling_factor=1.0,
    )


# Layers of the first generation (blocks 1, 3, 3, 3 and 3, 3, 3, 1, four channels) for each layer of ours; None is new.
FIRST_GENERATION = {
    "encoder": [0, 2, 3, 6, 7, 8, 9, None, 10, 11, 12, 13, None, 14],
    "decoder": [0, 1, 2, 3, 4, None, 5, 6, 7, 8, 9, None, 10, 11, 12, 13, 15, 16, 18],
}


def start_from(model, path):
    """Weights of the first generation; its latents become the first channels, new blocks begin as the identity."""
    given, own = load_file(path), model.state_dict()
    for half, layers in FIRST_GENERATION.items():
        for layer, old in enumerate(layers):
            prefix = f"{half}.layers.{layer}."
            for name in [n for n in own if n.startswith(prefix)]:
                if old is None:
                    own[name][:] = 0 if name.endswith(("conv.4.weight", "conv.4.bias")) else own[name]
                    continue
                value = given[f"{half}.layers.{old}." + name[len(prefix) :]].float()
                own[name][tuple(slice(0, n) for n in value.shape)] = value
    model.load_state_dict(own)


def laplacian_loss(picture, target, levels=3):
    """L1 over a Laplacian pyramid of the difference, coarse levels included."""
    gap, total = picture - target, 0.0
    for _ in range(levels):
        small = F.avg_pool2d(gap, 2)
        total = total + (gap - F.interpolate(small, scale_factor=2.0)).abs().mean((1, 2, 3))
        gap = small
    return total + gap.abs().mean((1, 2, 3))


def slope_loss(picture, target):
    return sum((a - b).abs().mean((1, 2, 3)) for a, b in zip(slopes(picture), slopes(target)))


def energy_loss(picture, target, window=4):
    """Difference of the mean slopes in small windows: penalises blur, but not detail that is slightly displaced."""
    return sum(
        (F.avg_pool2d(a.abs(), window) - F.avg_pool2d(b.abs(), window)).abs().mean((1, 2, 3))
        for a, b in zip(slopes(picture), slopes(target))
    )


def picture_loss(picture, target, energy):
    """Per picture; pictures in -1..1. `energy` is the weight of the loss against blur."""
    return (
        (picture - target).abs().mean((1, 2, 3))
        + 0.5 * laplacian_loss(picture, target)
        + 0.5 * slope_loss(picture, target)
        + energy * energy_loss(picture, target)
    )


def scale_loss(latents):
    """Keeps each channel at mean 0 and variance 1: the noise of the diffusion has variance 1."""
    mean = latents.mean((0, 2, 3))
    power = latents.pow(2).mean((0, 2, 3))
    return mean.pow(2).mean() + (power - 1).pow(2).mean()


def batch(shards, n, side, rng):
    """Crops of `side` pixels at multiples of 16; about a third of them plain, the others styled."""
    out = np.empty((n, side, side, 3), np.uint8)
    for i in range(n):
        _, photo, styled, _ = shards.parts[rng.integers(len(shards.parts))]
        source = photo if rng.random() < 0.35 else styled
        picture = source[rng.integers(len(source))]
        y, x = 16 * rng.integers(0, (picture.shape[0] - side) // 16 + 1, 2)
        out[i] = picture[y : y + side, x : x + side]
    return out


def test_pictures(folder):
    """Held-out pictures, plain and in every third style."""
    styles = list(STYLES.values())[::3]
    return [np.stack([draw(picture) for draw in styles]) for picture in held_out(folder, 256, 4)]


@torch.inference_mode()
def test(model, pictures, device):
    """PSNR and sharpness of decoded held-out pictures, without noise and with noise of 0.3."""
    figures, generator = {}, torch.Generator().manual_seed(0)
    for noise in (0.0, 0.3):
        psnr, sharp = [], []
        for group in pictures:
            target = to_signed(group, device)
            with autocast(device):
                latents = model.encode(target).latents.float()
                noisy = latents + noise * torch.randn(latents.shape, generator=generator).to(device)
                decoded = model.decode(noisy).sample.float().clamp(-1, 1)
            psnr += (-10 * torch.log10(((decoded - target) / 2).pow(2).mean((1, 2, 3)))).tolist()
            sharp += [sharpness(d) / max(sharpness(t), 1e-3) for d, t in zip(decoded, target)]
        figures |= {f"psnr_{noise}": round(float(np.mean(psnr)), 2), f"sharp_{noise}": round(float(np.mean(sharp)), 3)}
    return figures


class Trainer:
    def __init__(self, args):
        self.args, self.device, self.exported = args, torch.device(args.device), build()
        self.model = build()
        if args.start:
            start_from(self.model, args.start)
        self.model.to(self.device, memory_format=torch.channels_last)
        self.training = Training(self.model, args, average=0.999, decay=0.0)
        self.shards, self.held_out = Shards(args.data), test_pictures(args.held_out)

    def step(self):
        pictures = batch(self.shards, self.args.batch, self.args.side, self.training.rng)
        target = to_signed(pictures, self.device)
        with autocast(self.device):
            latents = self.model.encode(target).latents
        latents = latents.float()
        spread = self.args.noise * torch.rand(len(latents), 1, 1, 1, device=self.device)
        spread = spread * (torch.rand_like(spread) < 0.6)
        with autocast(self.device):
            decoded = self.model.decode(latents + spread * torch.randn_like(latents)).sample
        each = picture_loss(decoded.float().contiguous(), target.contiguous(), self.args.energy)
        scale = scale_loss(latents)
        loss = (each / (1 + 2 * spread.flatten())).mean() + 0.1 * scale
        self.training.learn(loss, clean=each[spread.flatten() == 0].mean().item(), scale=scale.item())

    def save(self):
        self.shards.refresh()
        self.training.save()
        self.exported.load_state_dict(self.training.average.values)
        figures = test(self.exported.eval(), self.held_out, "cpu")
        self.training.log.write(saved=self.training.clock.steps, crops=len(self.shards), **figures)
        self.exported.save_pretrained(os.path.join(self.args.out, "vae"))


def main():
    parser = options(__doc__, minutes=180, batch=12, rate=1e-3)
    parser.add_argument("--held-out", required=True, help="folder of pictures that are not in the shards")
    parser.add_argument("--start", help="weights (.safetensors) of the first generation to start from")
    parser.add_argument("--side", type=int, default=128, help="pixels of a training crop")
    parser.add_argument("--energy", type=float, default=0.5, help="weight of the loss against blur")
    parser.add_argument("--noise", type=float, default=0.5, help="largest standard deviation of the noise on latents")
    launch(Trainer, parser.parse_args())


if __name__ == "__main__":
    main()
