"""Writes the predictions of the tiny sd15 UNet with feature injection and token merging.

    python tests/golden/generate/injection.py

Needs torch, diffusers and safetensors, and the checkpoint that `networks.py` made. The processors do what docs/steadiness.md
says, in the plainest way. Choices of the most similar token are made in double precision, and the script fails if two
tokens are so similar that single precision could choose the other one. `cached/injection.safetensors` has the frames'
latents, the numbers of each case (`case.NAME`), the predictions of all frames (`NAME`) and the orders of tokens by which
frames were merged.
"""

import json
import platform

import diffusers
import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from networks import ROOT, last
from safetensors.torch import load_file, save_file

SEED = 20240618
LENGTH = 5
ROWS, SIDE = 2, 8
# The least difference of the two largest cosines of a token, and of the largest one and the threshold.
APART = 2e-6
# Name: frames that are kept, every how many are, strength, threshold, whether frames are merged.
CASES = {
    "injected": (1, 1, 0.8, 0.98, False),
    "injected_of_two": (2, 2, 0.5, 0.9, False),
    "merged": (1, 1, 0.0, 0.98, True),
    "both": (1, 1, 0.8, 0.98, True),
    "both_every_second": (1, 2, 0.8, 0.0, True),
}
DEEP = ("mid_block.", "up_blocks.0.", "up_blocks.1.")


class Random:
    """Uniform numbers in (0, 1]: number `i` is of the first word of Philox 4x32-10 with the counter (1, 0, i, 0) and the
    seed as its key."""

    def __init__(self, seed):
        self.key, self.drawn = (seed & 0xFFFFFFFF, seed >> 32), 0

    def uniform(self):
        a, b, c, d = 1, 0, self.drawn & 0xFFFFFFFF, self.drawn >> 32
        key, self.drawn = self.key, self.drawn + 1
        for _ in range(10):
            left, right = 0xD2511F53 * a, 0xCD9E8D57 * c
            a, b = (right >> 32) ^ b ^ key[0], right & 0xFFFFFFFF
            c, d = (left >> 32) ^ d ^ key[1], left & 0xFFFFFFFF
            key = (key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF
        return ((a >> 8) + 1) / (1 << 24)


class Orders:
    """Permutations of the numbers below `count`: each shuffles the last one."""

    def __init__(self, count, seed):
        self.order, self.random = list(range(count)), Random(seed)

    def next(self):
        for end in range(len(self.order) - 1, 0, -1):
            place = min(int(self.random.uniform() * (end + 1)), end)
            self.order[place], self.order[end] = self.order[end], self.order[place]
        return list(self.order)


def most_similar(tokens, others, threshold=-1.0):
    """The number of the most similar of `others`, for each token, and whether its cosine is at least `threshold`."""
    cosines = F.normalize(tokens.double(), dim=-1) @ F.normalize(others.double(), dim=-1).transpose(1, 2)
    (best, second), index = cosines.topk(2).values.unbind(-1), cosines.argmax(-1)
    similar = best >= threshold
    closest = torch.cat([(best - second)[similar], (best - threshold).abs().flatten()]).min().item()
    assert closest > APART, f"a choice of tokens is too close: cosines differ by {closest:.1e}"
    return index, similar


class Layer:
    """Self-attention with what is kept of earlier frames: keys, values and outputs."""

    def __init__(self, strength, threshold):
        self.strength, self.threshold = strength, threshold
        self.kept, self.newest, self.share = [], None, None

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None):
        assert encoder_hidden_states is None and attention_mask is None
        q, k, v = attn.to_q(hidden_states), attn.to_k(hidden_states), attn.to_v(hidden_states)
        keys, values = (torch.cat([own] + [kept[i] for kept in self.kept], 1) for i, own in enumerate((k, v)))

        def heads(x):
            return x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)

        mixed = F.scaled_dot_product_attention(heads(q), heads(keys), heads(values)).transpose(1, 2).flatten(2)
        x = attn.to_out[1](attn.to_out[0](mixed))
        self.newest = (k, v, x)
        return self.injected(x) if self.strength and self.kept else x

    def injected(self, x):
        earlier = torch.cat([tokens for _, _, tokens in self.kept], 1)
        index, similar = most_similar(x, earlier, self.threshold)
        y = earlier.gather(1, index[..., None].expand_as(x))
        self.share = similar.float().mean().item()
        return torch.where(similar[..., None], x + self.strength * (y - x), x)

    def keep(self, most):
        self.kept = (self.kept + [self.newest])[-most:]

    def merge(self, order):
        """Keeps as many tokens of the kept frame and the newest one, together, as one of them has."""
        (kept,) = self.kept
        both = [torch.cat(pair, 1) for pair in zip(kept, self.newest)]
        tokens = kept[0].shape[1]
        order = torch.tensor([number for number in order if number < 2 * tokens])
        away, stay = order[:tokens], order[tokens:]
        into, _ = most_similar(both[0][:, away], both[0][:, stay])

        def mean(x):
            sums, counts = x[:, stay].clone(), torch.ones(x.shape[0], tokens)
            for row in range(x.shape[0]):
                for token, place in zip(away.tolist(), into[row].tolist()):
                    sums[row, place] += x[row, token]
                    counts[row, place] += 1
            return sums / counts[..., None]

        self.kept = [tuple(mean(x) for x in both)]


def clip(frames, timesteps, states, orders, case):
    most, interval, strength, threshold, merges = case
    model = UNet2DConditionModel.from_pretrained(ROOT / "sd15/unet").eval()
    layers = {
        name: Layer(strength if name.startswith(DEEP) else 0.0, threshold)
        for name in model.attn_processors
        if ".attn1." in name
    }
    model.set_attn_processor({name: layers.get(name, AttnProcessor()) for name in model.attn_processors})
    predictions, orders, shares = [], iter(orders), []
    for number, frame in enumerate(frames, 1):
        predictions.append(last(model(frame, timesteps, encoder_hidden_states=states).sample))
        shares += [layer.share for layer in layers.values() if layer.share is not None]
        if number % interval:
            continue
        order = next(orders) if merges and all(layer.kept for layer in layers.values()) else None
        for layer in layers.values():
            layer.merge(order) if order else layer.keep(most)
    return torch.stack(predictions), shares


@torch.no_grad()
def main():
    torch.manual_seed(SEED)
    inputs = load_file(ROOT / "sd15/golden.safetensors")
    sample = inputs["unet.sample"].permute(0, 3, 1, 2)[:ROWS, :, :SIDE, :SIDE]
    # Frames that are like each other, as those of a clip are.
    frames = (sample + 0.3 * torch.randn(LENGTH, *sample.shape)) / 1.09**0.5
    timesteps = inputs["unet.timesteps"].long()[:ROWS]
    states = inputs["unet.encoder_hidden_states"][inputs["unet.text_of_row"].long()][:ROWS]
    orders = Orders(2 * SIDE * SIDE, SEED)
    orders = [orders.next() for _ in range(LENGTH - 1)]
    golden = {"frames": torch.stack([last(frame) for frame in frames]), "orders": torch.tensor(orders)}
    for name, case in CASES.items():
        golden[name], shares = clip(frames, timesteps, states, orders, case)
        golden[f"case.{name}"] = torch.tensor(case)
        share = f", {min(shares):.0%} to {max(shares):.0%} of the tokens of a layer injected" if shares else ""
        print(f"{name:18} rms {golden[name].square().mean().sqrt():.3f}{share}")
    path = ROOT / "cached/injection.safetensors"
    save_file({key: value.float().contiguous() for key, value in golden.items()}, path)
    versions = {module.__name__: module.__version__ for module in (torch, diffusers)}
    meta = dict(made_by="tests/golden/generate/injection.py", seed=SEED, python=platform.python_version(), **versions)
    path.with_suffix(".json").write_text(json.dumps(meta, indent=2) + "\n")


if __name__ == "__main__":
    main()
