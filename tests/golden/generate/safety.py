"""Writes a tiny safety checker as diffusers saves them, and what diffusers makes of a few pictures with it.

    python tests/golden/generate/safety.py

Needs torch, diffusers, transformers, safetensors and Pillow. Weights are in half precision, and the goldens made in single
precision from the stored values.
"""

import json
import platform

import diffusers
import numpy
import PIL
import torch
import transformers
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker, cosine_distance
from ip_adapter import CLIP_MEAN, CLIP_STD
from networks import ROOT, SEED, randomise
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPConfig

FOLDER = ROOT / "safety_checker"
SIDE, PICTURES = 16, 8


def as_published(name):
    """The name of a tensor in published checkpoints, where the encoder is a model within the model."""
    return f"vision_model.{name}" if name.startswith("vision_model.") and name.count("vision_model.") == 1 else name


def preprocessed(pixels):
    """As the feature extractor does it: the shorter side to 16 by Pillow's bicubic filter, and the middle of the longer."""
    image = Image.fromarray(pixels)
    width, height = image.size
    short = min(width, height)
    size = (SIDE * width // short, SIDE * height // short)
    image = image.resize(size, Image.Resampling.BICUBIC)
    left, top = (size[0] - SIDE) // 2, (size[1] - SIDE) // 2
    pixels = numpy.asarray(image.crop((left, top, left + SIDE, top + SIDE)), dtype=numpy.float32) / 255
    return (torch.from_numpy(pixels) - torch.tensor(CLIP_MEAN)) / torch.tensor(CLIP_STD)


def score(model, embed):
    """The largest that a concept comes to beyond its threshold, before it is rounded."""
    adjustment = 0.0
    special = cosine_distance(embed, model.special_care_embeds)[0] - model.special_care_embeds_weights
    for value in special.tolist():
        if round(value + adjustment, 3) > 0:
            adjustment = 0.01
    return (cosine_distance(embed, model.concept_embeds)[0] - model.concept_embeds_weights).max().item() + adjustment


@torch.no_grad()
def main():
    torch.manual_seed(SEED)
    vision = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=SIDE,
                  patch_size=8, hidden_act="quick_gelu")
    text = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=8)
    config = CLIPConfig(vision_config=vision, text_config=text, projection_dim=12)
    config.architectures = ["StableDiffusionSafetyChecker"]
    model = StableDiffusionSafetyChecker(config)
    randomise(model)
    for name, value in model.named_parameters():
        if "embed" in name and "patch" not in name:
            value.copy_(torch.randn_like(value).half().float())
    # From black to white, and noise between: what is flagged must differ.
    pictures = (torch.rand(PICTURES, 20, 27, 3) * torch.linspace(0, 1, PICTURES)[:, None, None, None] * 255).byte()
    clip = torch.stack([preprocessed(picture.numpy()) for picture in pictures]).permute(0, 3, 1, 2).contiguous()
    embeds = model.visual_projection(model.vision_model(clip)[1])
    # Between what the pictures come to, so that some are above and some below.
    for part, quantile in (("concept", 0.97), ("special_care", 0.8)):
        cos = cosine_distance(embeds, getattr(model, f"{part}_embeds"))
        weights = torch.quantile(cos, quantile, dim=0) + 0.004 * torch.randn(cos.shape[1])
        getattr(model, f"{part}_embeds_weights").copy_(weights.half().float())
    _, flagged = model(clip_input=clip, images=numpy.zeros((PICTURES, 2, 2, 3)))
    scores = torch.tensor([score(model, embed[None]) for embed in embeds])
    FOLDER.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(FOLDER)
    state = {as_published(k): v.half().contiguous() for k, v in model.state_dict().items() if v.is_floating_point()}
    save_file(state, FOLDER / "model.safetensors", metadata={"format": "pt"})
    golden = {"pictures": pictures.half(), "clip": clip.permute(0, 2, 3, 1), "embeds": embeds,
              "scores": scores, "flagged": torch.tensor(flagged).int()}
    save_file({k: v.contiguous() for k, v in golden.items()}, FOLDER / "golden.safetensors")
    versions = {module.__name__: module.__version__ for module in (torch, diffusers, transformers, PIL)}
    meta = dict(made_by="tests/golden/generate/safety.py", seed=SEED, python=platform.python_version(), **versions)
    (FOLDER / "meta.json").write_text(json.dumps(meta, indent=2) + "\n")
    print(flagged, scores)


if __name__ == "__main__":
    main()
