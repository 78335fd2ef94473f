"""Writes tiny IP-Adapters for the tiny checkpoints of `networks.py`, an image encoder, and what the reference libraries
make of them.

    python tests/golden/generate/ip_adapter.py

Needs torch, diffusers, transformers, safetensors and Pillow; run `networks.py` first. Adapters lie in files as published
ones do (`image_proj.*`, `ip_adapter.N.*`), in half precision; goldens are made in single precision from the stored values.
"""

import json
import platform
import zlib
from pathlib import Path

import diffusers
import numpy
import PIL
import torch
import transformers
from diffusers import UNet2DConditionModel
from networks import ROOT, SEED, last, randomise
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

FOLDER = ROOT / "ip_adapter"
# Channels that the image encoder projects to, and those of its layers.
PROJECTED, WIDTH = 24, 32
FACE = 20
CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
CLIP_STD = [0.26862954, 0.26130258, 0.27577711]


def tensor(*shape, like="weight"):
    """A weight that keeps signals alive, as stored."""
    if like == "norm":
        value = 1 + 0.2 * torch.randn(*shape)
    elif like == "bias":
        value = 0.1 * torch.randn(*shape)
    elif like == "tokens":
        value = torch.randn(*shape)
    else:
        value = torch.randn(*shape) * 1.2 / shape[-1] ** 0.5
    return value.half().float()


def norm(state, name, width):
    state[f"{name}.weight"], state[f"{name}.bias"] = tensor(width, like="norm"), tensor(width, like="bias")


def linear(state, name, to, of, bias=True):
    state[f"{name}.weight"] = tensor(to, of)
    if bias:
        state[f"{name}.bias"] = tensor(to, like="bias")


def projection(kind, text):
    """The part of an adapter that turns features of an image into tokens."""
    state = {}
    if kind == "regular":
        linear(state, "proj", 4 * text, PROJECTED)
        norm(state, "norm", text)
    elif kind == "faceid":
        linear(state, "proj.0", 2 * FACE, FACE)
        linear(state, "proj.2", 4 * text, 2 * FACE)
        norm(state, "norm", text)
    else:
        dim, inner, queries = 16, 64, 16
        state["latents"] = tensor(1, queries, dim, like="tokens")
        linear(state, "proj_in", dim, WIDTH)
        linear(state, "proj_out", text, dim)
        norm(state, "norm_out", text)
        for i in range(4):
            norm(state, f"layers.{i}.0.norm1", dim)
            norm(state, f"layers.{i}.0.norm2", dim)
            linear(state, f"layers.{i}.0.to_q", inner, dim, bias=False)
            linear(state, f"layers.{i}.0.to_kv", 2 * inner, dim, bias=False)
            linear(state, f"layers.{i}.0.to_out", dim, inner, bias=False)
            norm(state, f"layers.{i}.1.0", dim)
            linear(state, f"layers.{i}.1.1", 4 * dim, dim, bias=False)
            linear(state, f"layers.{i}.1.3", dim, 4 * dim, bias=False)
    return state


def adapter(unet, kind):
    """All parts of an adapter for `unet`."""
    layers = {}
    for i, (name, processor) in enumerate(unet.attn_processors.items()):
        if name.endswith("attn1.processor"):
            if kind == "faceid":
                layers[f"{i}.to_q_lora.down.weight"] = tensor(2, 16)
            continue
        channels = unet.get_submodule(name.removesuffix(".processor")).to_q.out_features
        for part in ("to_k_ip", "to_v_ip"):
            linear(layers, f"{i}.{part}", channels, unet.config.cross_attention_dim, bias=False)
    return dict(image_proj=projection(kind, unet.config.cross_attention_dim), ip_adapter=layers)


def save_adapter(parts, name):
    flat = {f"{part}.{key}": value.half().contiguous() for part, state in parts.items() for key, value in state.items()}
    save_file(flat, FOLDER / f"{name}.safetensors")


def features(kind):
    """What an adapter sees of an image, for two images."""
    return torch.randn(*{"regular": (2, PROJECTED), "plus": (2, 17, WIDTH), "faceid": (2, FACE)}[kind])


@torch.no_grad()
def check(golden, family, kind):
    name = f"{family}_{kind}"
    torch.manual_seed(SEED + zlib.crc32(name.encode()) % 1000)
    unet = UNet2DConditionModel.from_pretrained(ROOT / family / "unet", torch_dtype=torch.float32).eval()
    inputs = load_file(ROOT / family / "golden.safetensors")
    parts = adapter(unet, kind)
    save_adapter(parts, name)
    seen = features(kind)
    golden[f"{name}.features"] = seen
    plain = unet_eps(unet, inputs, None)
    unet._load_ip_adapter_weights([parts])
    # A row of the UNet sees one of two images.
    rows = torch.tensor([0, 1, 0])
    tokens = unet.encoder_hid_proj([seen[:, None]])[0][:, 0]
    golden[f"{name}.tokens"] = tokens
    scales = []
    for processor_name, processor in unet.attn_processors.items():
        if processor_name.endswith("attn2.processor"):
            scales.append(round(0.3 + 0.25 * (len(scales) % 5), 2))
            processor.scale = [scales[-1]]
    golden[f"{name}.scales"] = torch.tensor(scales)
    golden[f"{name}.eps"] = unet_eps(unet, inputs, [seen[rows][:, None]])
    apart = (golden[f"{name}.eps"] - plain).square().mean().sqrt() / plain.square().mean().sqrt()
    print(f"{name:14} tokens {tuple(tokens.shape)} layers {len(scales)} changes {apart:.3f}")


def unet_eps(unet, inputs, image_embeds):
    rows = inputs["unet.text_of_row"].long()
    added = {} if image_embeds is None else {"image_embeds": image_embeds}
    if "unet.pooled" in inputs:
        added |= dict(text_embeds=inputs["unet.pooled"], time_ids=inputs["unet.time_ids"])
    sample = inputs["unet.sample"].permute(0, 3, 1, 2).contiguous()
    states = inputs["unet.encoder_hidden_states"][rows]
    timesteps = inputs["unet.timesteps"].long()
    return last(unet(sample, timesteps, encoder_hidden_states=states, added_cond_kwargs=added).sample)


def style_image():
    """A picture with edges, gradients, black and white, which is neither square nor a multiple of anything."""
    height, width = 45, 70
    y, x = numpy.mgrid[0:height, 0:width]
    red = x * 255 // (width - 1)
    green = 255 * ((x // 7 + y // 5) % 2)
    blue = (numpy.sin(x / 3.0) * numpy.cos(y / 4.0) * 127 + 128).astype(int)
    pixels = numpy.stack([red, green, blue], -1).astype(numpy.uint8)
    pixels[:6] = 0
    pixels[-6:] = 255
    return Image.fromarray(pixels)


def preprocessed(image, side):
    """As CLIP's image processor does it, with Lanczos in the place of the bicubic filter."""
    width, height = image.size
    short, long = min(width, height), max(width, height)
    new_long = int(side * long / short)
    size = (side, new_long) if width <= height else (new_long, side)
    image = image.resize(size, Image.Resampling.LANCZOS)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    pixels = numpy.asarray(image.crop((left, top, left + side, top + side)), dtype=numpy.float32) / 255
    return (torch.from_numpy(pixels) - torch.tensor(CLIP_MEAN)) / torch.tensor(CLIP_STD)


@torch.no_grad()
def image_encoder(golden):
    torch.manual_seed(SEED)
    config = CLIPVisionConfig(
        hidden_size=WIDTH, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4, image_size=32, patch_size=8,
        projection_dim=PROJECTED, hidden_act="gelu",
    )
    config.architectures = ["CLIPVisionModelWithProjection"]
    model = CLIPVisionModelWithProjection(config)
    randomise(model)
    for name, value in model.named_parameters():
        if "layrnorm" in name and name.endswith("weight"):
            value.copy_((1 + 0.2 * torch.randn_like(value)).half().float())
        elif "embedding" in name and "patch" not in name:
            value.copy_(torch.randn_like(value).half().float())
    folder = FOLDER / "image_encoder"
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    state = {k: v.half().contiguous() for k, v in model.state_dict().items() if v.is_floating_point()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    image = style_image()
    image.save(FOLDER / "style.png", optimize=True)
    pixels = torch.stack([preprocessed(image, 32), torch.randn(32, 32, 3)])
    out = model(pixel_values=pixels.permute(0, 3, 1, 2), output_hidden_states=True)
    golden["image_encoder.pixels"] = pixels
    golden["image_encoder.projected"] = out.image_embeds
    golden["image_encoder.penultimate"] = out.hidden_states[-2]


def main():
    golden = {}
    image_encoder(golden)
    for family, kind in (("sd15", "regular"), ("sd15", "plus"), ("sd15", "faceid"), ("sdxl", "plus")):
        check(golden, family, kind)
    golden = {key: value.clone().contiguous() for key, value in golden.items()}
    save_file(golden, FOLDER / "golden.safetensors")
    versions = {module.__name__: module.__version__ for module in (torch, diffusers, transformers, PIL)}
    meta = dict(made_by="tests/golden/generate/ip_adapter.py", seed=SEED, python=platform.python_version(), **versions)
    (FOLDER / "meta.json").write_text(json.dumps(meta, indent=2) + "\n")


if __name__ == "__main__":
    main()
