"""Train an IP-Adapter of the demo model with a small image encoder: a picture in place of style words.

The frozen UNet gets keys and values for a few image tokens in addition to those of the text; the reference is another
picture that was drawn in the style of the target. The files are those of the published adapters.
"""

import copy
import json
import os

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from diffusion import Frozen, Schedule
from export import MOST_OF_EXTRAS, reduced, stored
from prompts import SUBJECTS
from samples import Samples
from training import Training, autocast, launch, options

SIDE = 128  # of the encoder's pictures, in pixels
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class ImageAttention(torch.nn.Module):
    """The attention processor of a cross-attention layer: text, and image tokens with keys and values of their own."""

    def __init__(self, width, words):
        super().__init__()
        self.to_k_ip = torch.nn.Linear(words, width, bias=False)
        self.to_v_ip = torch.nn.Linear(words, width, bias=False)
        torch.nn.init.zeros_(self.to_v_ip.weight)
        self.image = None

    def __call__(self, attn, x, encoder_hidden_states=None, attention_mask=None, temb=None):
        def heads(h):
            return h.view(len(h), -1, attn.heads, h.shape[-1] // attn.heads).transpose(1, 2)

        q = heads(attn.to_q(x))
        mixed = F.scaled_dot_product_attention(
            q, heads(attn.to_k(encoder_hidden_states)), heads(attn.to_v(encoder_hidden_states))
        )
        mixed = mixed + F.scaled_dot_product_attention(
            q, heads(self.to_k_ip(self.image)), heads(self.to_v_ip(self.image))
        )
        return attn.to_out[0](mixed.transpose(1, 2).flatten(2))


class Adapter(torch.nn.Module):
    def __init__(self, unet, tokens=4):
        super().__init__()
        words = unet.config.cross_attention_dim
        self.tokens, self.words = tokens, words
        self.encoder = CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                hidden_size=128,
                intermediate_size=256,
                num_hidden_layers=3,
                num_attention_heads=4,
                image_size=SIDE,
                patch_size=16,
                projection_dim=128,
                hidden_act="quick_gelu",
                initializer_factor=1.0,
            )
        )
        self.proj = torch.nn.Linear(128, tokens * words)
        self.norm = torch.nn.LayerNorm(words)
        self.layers = torch.nn.ModuleList()
        self.names = []
        processors = unet.attn_processors
        for index, name in enumerate(processors):
            if name.endswith("attn2.processor"):
                layer = ImageAttention(unet.get_submodule(name.removesuffix(".processor")).to_q.out_features, words)
                processors[name] = layer
                self.layers.append(layer)
                self.names.append(index)
        unet.set_attn_processor(processors)

    def look(self, picture, present):
        """Image tokens of pictures in 0..1 for all layers; none of a picture counts where `present` is 0."""
        mean, std = (torch.tensor(v, device=picture.device).view(1, 3, 1, 1) for v in (MEAN, STD))
        features = self.encoder((picture - mean) / std).image_embeds * present
        tokens = self.norm(self.proj(features).view(len(picture), self.tokens, self.words))
        for layer in self.layers:
            layer.image = tokens

    def write(self, folder, values):
        """Writes the adapter in the published layout, with its folder `image_encoder`, from the weights `values`."""
        layers = {f"ip_adapter.{index}": f"layers.{i}" for i, index in enumerate(self.names)}
        tensors = {f"image_proj.{name}": values[name] for name in values if name.startswith(("proj.", "norm."))}
        for name, own in layers.items():
            tensors |= {f"{name}.{part}.weight": values[f"{own}.{part}.weight"] for part in ("to_k_ip", "to_v_ip")}
        os.makedirs(folder, exist_ok=True)
        save_file(
            {k: stored(v, MOST_OF_EXTRAS).contiguous() for k, v in tensors.items()},
            os.path.join(folder, "ip-adapter.safetensors"),
        )
        encoder, prefix = copy.deepcopy(self.encoder), "encoder."
        encoder.load_state_dict({k[len(prefix) :]: v for k, v in values.items() if k.startswith(prefix)})
        reduced(encoder, MOST_OF_EXTRAS).save_pretrained(os.path.join(folder, "image_encoder"))
        total = sum(os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(folder) for f in files)
        print(json.dumps({folder: total}), flush=True)


class Trainer:
    def __init__(self, args):
        self.args, self.device = args, torch.device(args.device)
        self.base = Frozen(args.model, args.device)
        self.adapter = Adapter(self.base.unet).to(self.device)
        self.schedule = Schedule(self.device, (20, 400), 0.6)
        self.training = Training(self.adapter, args)
        self.samples = Samples(args.data, self.training.rng)

    def references(self, styles):
        """Another picture of each style, scaled as an image encoder's input."""
        out, rng = [], self.training.rng
        for style in styles:
            shard = self.samples.shards[rng.integers(len(self.samples.shards))]
            picture = shard["styled"][rng.choice(np.flatnonzero(shard["style"] == style))]
            out.append(cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC))
        return torch.from_numpy(np.stack(out)).to(self.device).permute(0, 3, 1, 2).float() / 255

    def step(self):
        n, rng = self.args.batch, self.training.rng
        batch = self.samples.draw(n, self.args.crop)
        photo, target = batch.tensors(self.device)
        words = self.base.words(["" if rng.random() < 0.5 else str(rng.choice(SUBJECTS)) for _ in range(n)])
        present = (torch.rand(n, 1, device=self.device) < 0.9).float()
        target = torch.where(present.view(-1, 1, 1, 1) > 0, target, photo)
        with autocast(self.device):
            self.adapter.look(self.references(batch.styles), present)
        loss, error = self.base.loss(self.base.noised(photo, self.schedule), words, target)
        self.training.learn(loss, error=error)

    def save(self):
        self.training.save()
        self.adapter.write(os.path.join(self.args.out, "style"), self.training.average.values)


def main():
    parser = options(__doc__, minutes=60, batch=32, rate=1e-3)
    parser.add_argument("--model", required=True, help="folder of the model, written by export.py")
    parser.add_argument("--crop", type=int, default=16, help="side of a crop in latents")
    launch(Trainer, parser.parse_args())


if __name__ == "__main__":
    main()
