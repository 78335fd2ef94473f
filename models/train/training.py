"""What all training scripts share: precision, averages of weights, checkpoints, shards."""

import contextlib
import glob
import json
import math
import os
import time

import numpy as np
import torch


def autocast(device):
    kind = str(device).split(":")[0]
    return torch.autocast(kind, torch.bfloat16) if kind in ("cpu", "cuda") else contextlib.nullcontext()


def to_signed(pictures, device="cpu"):
    """uint8 (n, height, width, 3) -> float32 in -1..1, (n, 3, height, width), channels last in memory."""
    tensor = torch.from_numpy(np.ascontiguousarray(pictures)).to(device)
    return tensor.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def to_bytes(pictures):
    return pictures.float().add(1).mul(127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()


def slopes(picture):
    return picture[..., 1:] - picture[..., :-1], picture[..., 1:, :] - picture[..., :-1, :]


def sharpness(picture):
    """Mean absolute slope of pictures in -1..1; divided by the target's, below 1 means blur, above 1 added detail."""
    return float(sum(s.abs().mean() for s in slopes(picture.clamp(-1, 1))))


class Average:
    """Running average of the weights; this is what is exported."""

    def __init__(self, model, decay=0.999):
        self.decay, self.steps = decay, 0
        self.values = {k: v.detach().clone().float() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model):
        self.steps += 1
        rate = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, value in model.state_dict().items():
            if value.dtype.is_floating_point:
                self.values[name].lerp_(value.float(), rate)
            else:
                self.values[name].copy_(value)


def orthogonal(matrix, steps=5):
    """A matrix near the closest one with orthonormal rows or columns, by Newton-Schulz iterations."""
    x = matrix / matrix.norm().clamp_min(1e-7)
    turned = x.shape[0] > x.shape[1]
    x = x.T if turned else x
    for _ in range(steps):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T if turned else x


class Muon(torch.optim.Optimizer):
    """Momentum whose steps are made orthogonal, for weights of layers; AdamW for vectors and embeddings.

    Steps have the size of AdamW's, so that one rate fits both. For the same quality, the networks here need about half
    of AdamW's steps.
    """

    def __init__(self, named, rate, momentum=0.95, decay=0.01):
        layers, others = [], []
        for name, p in named:
            matrix = p.ndim >= 2 and "embedding" not in name and min(p.shape[0], p[0].numel()) >= 8
            (layers if matrix else others).append(p)
        groups = [{"params": layers, "orthogonal": True}, {"params": others, "orthogonal": False}]
        super().__init__(groups, {"lr": rate, "momentum": momentum, "decay": decay, "betas": (0.9, 0.99)})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    (self.orthogonal_step if group["orthogonal"] else self.adam_step)(p, group)

    def orthogonal_step(self, p, group):
        state = self.state[p]
        if not state:
            state["momentum"] = torch.zeros_like(p)
        state["momentum"].lerp_(p.grad, 1 - group["momentum"])
        step = orthogonal(p.grad.lerp(state["momentum"], group["momentum"]).reshape(len(p), -1))
        p.mul_(1 - group["lr"] * group["decay"])
        p.add_(step.reshape(p.shape), alpha=-group["lr"] * 0.2 * max(step.shape) ** 0.5)

    def adam_step(self, p, group):
        state, (first, second) = self.state[p], group["betas"]
        if not state:
            state |= {"steps": 0, "mean": torch.zeros_like(p), "power": torch.zeros_like(p)}
        state["steps"] += 1
        state["mean"].lerp_(p.grad, 1 - first)
        state["power"].lerp_(p.grad * p.grad, 1 - second)
        mean, power = (state[n] / (1 - beta ** state["steps"]) for n, beta in (("mean", first), ("power", second)))
        p.sub_(group["lr"] * mean / (power.sqrt() + 1e-8))


class Clock:
    """Training time, without that of a stopped process, and the learning rate: warm-up, then a cosine down to 2 %."""

    def __init__(self, minutes, rate, warmup=200):
        self.limit, self.rate, self.warmup = minutes * 60, rate, warmup
        self.used, self.steps, self.last = 0.0, 0, time.time()

    def tick(self):
        now = time.time()
        self.used += min(now - self.last, 60.0)
        self.last = now
        self.steps += 1

    @property
    def progress(self):
        return self.used / self.limit

    def current_rate(self):
        cosine = 0.5 * (1 + math.cos(math.pi * min(self.progress, 1)))
        return self.rate * min(1, (self.steps + 1) / self.warmup) * (0.02 + 0.98 * cosine)


def save(path, state):
    """Replaces the file at once: a process that is killed leaves the previous one."""
    torch.save(state, path + ".part")
    os.replace(path + ".part", path)


class Shards:
    """The crops of dataset.py, memory-mapped; shards may arrive while training runs."""

    def __init__(self, folders):
        self.folders, self.parts = folders, []
        self.refresh()

    def refresh(self):
        known = {path for path, *_ in self.parts}
        for folder in self.folders:
            for path in sorted(glob.glob(os.path.join(folder, "*", "style.npy"))):
                if path not in known:
                    part = os.path.dirname(path)
                    arrays = (np.load(os.path.join(part, f"{name}.npy"), mmap_mode="r") for name in ("photo", "styled"))
                    self.parts.append((path, *arrays, np.load(path)))
        if not self.parts:
            raise SystemExit(f"{', '.join(self.folders)}: got no shards, expected some written by dataset.py")

    def __len__(self):
        return sum(len(photo) for _, photo, *_ in self.parts)


class Log:
    """Running means of named figures, printed and appended to a file as JSON lines."""

    def __init__(self, path):
        self.path, self.sums, self.counts = path, {}, {}

    def add(self, **figures):
        for name, value in figures.items():
            if value == value:
                self.sums[name] = self.sums.get(name, 0.0) + float(value)
                self.counts[name] = self.counts.get(name, 0) + 1

    def write(self, **facts):
        line = facts | {name: round(total / self.counts[name], 5) for name, total in self.sums.items()}
        self.sums, self.counts = {}, {}
        print(json.dumps(line), flush=True)
        with open(self.path, "a", encoding="utf-8") as file:
            print(json.dumps(line), file=file)
