"""Writes tiny random networks in the layouts of RIFE's (IFNet of version 4.5 and later), and pictures that torch
interpolates by them.

    python tests/golden/generate/rife.py

Needs torch and safetensors. Weights are stored in half precision, and pictures made in single precision from the stored
values.

    NAME.pkl, NAME.safetensors  the networks; pickled ones as they were trained, with a prefix and weights that are not
                                used
    golden.safetensors          older, newer, and NAME.TIME, the picture between both: [20, 36, 3] in 0..1
"""

import collections
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

SEED = 20251125
HEIGHT, WIDTH = 20, 36
FOUR, FIVE, LITE = (8, 4, 2, 1), (16, 8, 4, 2, 1), (32, 16, 8, 4, 1)
OUT = Path(__file__).parents[1] / "rife"


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.beta = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(self, x):
        return F.leaky_relu(x + self.beta * self.conv(x), 0.2)


class Block(nn.Module):
    """Refines flows and mask, seen at a scale."""

    def __init__(self, inputs, channels, outputs):
        super().__init__()

        def halved(a, b):
            return nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1), nn.LeakyReLU(0.2))

        self.conv0 = nn.Sequential(halved(inputs, channels // 2), halved(channels // 2, channels))
        self.convblock = nn.Sequential(*(Residual(channels) for _ in range(8)))
        self.lastconv = nn.Sequential(nn.ConvTranspose2d(channels, 4 * outputs, 4, stride=2, padding=1),
                                      nn.PixelShuffle(2))

    def forward(self, x, flows, scale):
        x = resized(x, 1 / scale)
        if flows is not None:
            x = torch.cat([x, resized(flows, 1 / scale) / scale], 1)
        x = resized(self.lastconv(self.convblock(self.conv0(x))), scale)
        return x[:, :4] * scale, x[:, 4:5], x[:, 5:]


class Head(nn.Module):
    def __init__(self, hidden, features):
        super().__init__()
        self.cnn0 = nn.Conv2d(3, hidden, 3, stride=2, padding=1)
        self.cnn1 = nn.Conv2d(hidden, hidden, 3, padding=1)
        self.cnn2 = nn.Conv2d(hidden, hidden, 3, padding=1)
        self.cnn3 = nn.ConvTranspose2d(hidden, features, 4, stride=2, padding=1)

    def forward(self, x):
        for layer in (self.cnn0, self.cnn1, self.cnn2):
            x = F.leaky_relu(layer(x), 0.2)
        return self.cnn3(x)


def pair(hidden, features):
    return nn.Sequential(nn.Conv2d(3, hidden, 3, stride=2, padding=1),
                         nn.ConvTranspose2d(hidden, features, 4, stride=2, padding=1))


def sequence(hidden, features):
    middle = [nn.Conv2d(hidden, hidden, 3, padding=1), nn.LeakyReLU(0.2)] * 2
    return nn.Sequential(nn.Conv2d(3, hidden, 3, stride=2, padding=1), nn.LeakyReLU(0.2), *middle,
                         nn.ConvTranspose2d(hidden, features, 4, stride=2, padding=1))


class Network(nn.Module):
    def __init__(self, scales, channels, encoder=None, features=0, hidden=6, carried=0):
        super().__init__()
        self.scales, self.carried = scales, carried
        self.encode = encoder(hidden, features) if encoder else None
        seen, outputs = 2 * (3 + features) + 1, 5 + carried if carried else 6
        for index, c in enumerate(channels):
            inputs = seen if index == 0 else seen + 1 + carried + 4
            setattr(self, f"block{index}", Block(inputs, c, outputs))

    def forward(self, older, newer, time):
        step = 4 * self.scales[0]
        pad = (0, -older.shape[3] % step, 0, -older.shape[2] % step)
        pictures = [F.pad(picture.clamp(0, 1), pad) for picture in (older, newer)]
        features = [self.encode(picture) for picture in pictures] if self.encode else []
        time = torch.full_like(pictures[0][:, :1], time)
        flows = mask = carried = None
        for index, scale in enumerate(self.scales):
            block = getattr(self, f"block{index}")
            if flows is None:
                flows, mask, carried = block(torch.cat([*pictures, *features, time], 1), None, scale)
                continue
            x = [*warped(pictures, flows), *warped(features, flows), time, mask]
            x += [carried] if self.carried else []
            change, new_mask, carried = block(torch.cat(x, 1), flows, scale)
            flows = flows + change
            mask = new_mask if self.encode else mask + new_mask
        first, second = warped(pictures, flows)
        share = mask.sigmoid()
        self.flows = flows[:, :, :HEIGHT, :WIDTH]
        return (first * share + second * (1 - share))[:, :, :HEIGHT, :WIDTH]


def resized(x, factor):
    return x if factor == 1 else F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def warped(pair, flows):
    return [moved(x, flows[:, 2 * i : 2 * i + 2]) for i, x in enumerate(pair)]


def moved(x, flow):
    """Each pixel of x from where its flow, in pixels, leads."""
    height, width = x.shape[2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    grid = torch.stack([2 * (columns + flow[:, 0]) / (width - 1) - 1, 2 * (rows + flow[:, 1]) / (height - 1) - 1], -1)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=True)


NETWORKS = {
    "v4.6": (FOUR, (8, 6, 6, 4), None),
    "v4.7": (FOUR, (8, 6, 6, 4), pair, 4),
    "v4.10": (FOUR, (8, 6, 6, 4), sequence, 8),
    "v4.15": (FOUR, (8, 6, 6, 4), Head, 4),
    "v4.22": (FOUR, (8, 6, 6, 4), Head, 8, 6, 8),
    "v4.25": (FIVE, (8, 6, 6, 4, 4), Head, 4, 6, 8),
    "v4.25.lite": (LITE, (4, 4, 4, 4, 24), Head, 4, 6, 8),
    "v4.26.heavy": (FIVE, (4, 4, 4, 4, 4), Head, 16, 6, 8),
}
# Pickled, as the published ones are.
PICKLED = ["v4.6", "v4.25"]


def randomise(network):
    scales = dict(enumerate(network.scales))
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.endswith("beta"):
                value.uniform_(-0.6, 0.6)
            elif name.endswith("bias"):
                value.copy_(0.1 * torch.randn_like(value))
            else:
                value.copy_(torch.randn_like(value) / value[0].numel() ** 0.5)
            if "lastconv" in name:
                # Some pixels of the picture, whatever the scale; a mask around its middle.
                value.mul_(3 / math.sqrt(scales[int(name[5])]))
            value.copy_(value.half().float())
    return network.eval()


def save(name, network):
    state = {key: value.half().contiguous() for key, value in network.state_dict().items()}
    if name not in PICKLED:
        save_file(state, OUT / f"{name}.safetensors", metadata={"format": "pt"})
        return
    state = {f"module.{key}": value for key, value in state.items()}
    state["module.caltime.0.weight"] = torch.zeros(2, 2, 3, 3).half()
    torch.save(collections.OrderedDict(state), OUT / f"{name}.pkl")


def last(x):
    return x[0].permute(1, 2, 0).contiguous()


def main():
    torch.manual_seed(SEED)
    OUT.mkdir(parents=True, exist_ok=True)
    size = (HEIGHT + 4, WIDTH + 4)
    ground = F.interpolate(torch.rand(1, 3, 7, 10), size=size, mode="bicubic").half().float()
    older = ground[:, :, 3 : 3 + HEIGHT, 1 : 1 + WIDTH].contiguous()
    newer = ground[:, :, 1 : 1 + HEIGHT, 3 : 3 + WIDTH].contiguous()
    golden = {"older": last(older), "newer": last(newer)}
    for name, options in NETWORKS.items():
        network = randomise(Network(*options))
        save(name, network)
        with torch.no_grad():
            for time in (0.25, 0.5) if name in PICKLED else (0.5,):
                golden[f"{name}.{time}"] = last(network(older, newer, time))
                print(name, time, "flow up to", round(network.flows.abs().max().item(), 2), "pixels, mean",
                      round(network.flows.abs().mean().item(), 2))
    save_file(golden, OUT / "golden.safetensors")


if __name__ == "__main__":
    main()
