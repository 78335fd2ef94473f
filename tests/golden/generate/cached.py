"""Writes the predictions of the tiny sd15 UNet with cached attention to earlier frames.

    python tests/golden/generate/cached.py

Needs torch, diffusers and safetensors, and the checkpoint that `networks.py` made. The processor of every self-attention is
replaced by one that says what is meant in the plainest way: a list of the last frames' keys and values, put after the
frame's own. A frame that is not there is not attended to. `cached/golden.safetensors` has the frames' latents once, and
for each case `FRAMES_INTERVAL_ROWS` the predictions of all frames.
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

SEED = 20240611
LENGTH = 6
# Frames that are kept, every how many are, rows.
CASES = [(1, 1, 2), (1, 2, 3), (2, 1, 3), (2, 2, 1), (3, 1, 1), (3, 2, 2), (3, 1, 3)]


class LookingBack:
    """Self-attention over a frame's own keys and values and those of the frames in `kept`."""

    def __init__(self):
        self.kept, self.newest = [], None

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None):
        assert encoder_hidden_states is None and attention_mask is None
        q, k, v = attn.to_q(hidden_states), attn.to_k(hidden_states), attn.to_v(hidden_states)
        self.newest = (k, v)
        keys = torch.cat([k] + [k for k, _ in self.kept], 1)
        values = torch.cat([v] + [v for _, v in self.kept], 1)

        def heads(x):
            return x.reshape(x.shape[0], x.shape[1], attn.heads, -1).transpose(1, 2)

        scores = heads(q) @ heads(keys).transpose(2, 3) / (q.shape[-1] // attn.heads) ** 0.5
        mixed = (F.softmax(scores, -1) @ heads(values)).transpose(1, 2).reshape(q.shape)
        return attn.to_out[1](attn.to_out[0](mixed))


@torch.no_grad()
def main():
    torch.manual_seed(SEED)
    inputs = load_file(ROOT / "sd15/golden.safetensors")
    sample = inputs["unet.sample"].permute(0, 3, 1, 2)
    drift = torch.randn(LENGTH, *sample.shape)
    # Frames that are like each other, as those of a film are.
    frames = (sample + 0.5 * drift) / 1.25**0.5
    timesteps, states = inputs["unet.timesteps"].long(), inputs["unet.encoder_hidden_states"]
    states = states[inputs["unet.text_of_row"].long()]
    golden = {"frames": torch.stack([last(frame) for frame in frames])}
    for most, interval, rows in CASES:
        model = UNet2DConditionModel.from_pretrained(ROOT / "sd15/unet").eval()
        memories = [LookingBack() for name in model.attn_processors if ".attn1." in name]
        pool = iter(memories)
        model.set_attn_processor(
            {name: next(pool) if ".attn1." in name else AttnProcessor() for name in model.attn_processors}
        )
        predictions, clock = [], 0
        for frame in frames:
            eps = model(frame[:rows], timesteps[:rows], encoder_hidden_states=states[:rows]).sample
            predictions.append(last(eps))
            clock += 1
            if clock % interval == 0:
                for memory in memories:
                    memory.kept = (memory.kept + [memory.newest])[-most:]
        golden[f"{most}_{interval}_{rows}"] = torch.stack(predictions)
    folder = ROOT / "cached"
    folder.mkdir(exist_ok=True)
    save_file({key: value.float().contiguous() for key, value in golden.items()}, folder / "golden.safetensors")
    versions = {module.__name__: module.__version__ for module in (torch, diffusers)}
    meta = dict(made_by="tests/golden/generate/cached.py", seed=SEED, python=platform.python_version(), **versions)
    (folder / "meta.json").write_text(json.dumps(meta, indent=2) + "\n")
    for key, value in golden.items():
        print(f"{key:8} {tuple(value.shape)} rms {value.square().mean().sqrt():.3f}")


if __name__ == "__main__":
    main()
