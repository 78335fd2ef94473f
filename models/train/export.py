"""Write a checkpoint of unet.py as a diffusers StableDiffusionPipeline folder in half precision.

Weights are rounded to at most 255 values per output channel, multiples of a power of two: these are exact in half
precision, and compress to little more than a byte each.
"""

import argparse
import json
import os
import shutil

import torch
from diffusers import AutoencoderTiny
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer

from model import build_text_encoder, build_unet, scheduler

INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.30.0",
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "LCMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderTiny"],
}


# Of a row of a ControlNet, a LoRA or an adapter, which need less precision than the model.
MOST_OF_EXTRAS = 63


def stored(weight, most=127):
    """A weight as it is stored, in at most `2 * most + 1` values a row; vectors keep all of half precision."""
    if weight.ndim < 2:
        return weight.half()
    rows = weight.float().reshape(len(weight), -1)
    step = torch.exp2(torch.ceil(torch.log2(rows.abs().amax(1, keepdim=True).clamp_min(1e-6) / most)))
    return ((rows / step).round() * step).reshape(weight.shape).half()


@torch.no_grad()
def reduced(network, most=127):
    """The network with its weights as they are stored."""
    for weight in network.parameters():
        weight.copy_(stored(weight, most))
    return network.half()


def networks(run):
    """The averaged text encoder and UNet of a run, and its tokenizer."""
    state = torch.load(os.path.join(run, "checkpoint.pt"), map_location="cpu", weights_only=True)
    tokenizer = CLIPTokenizer.from_pretrained(os.path.join(run, "tokenizer"))
    text = build_text_encoder(tokenizer)
    unet = build_unet(tuple(state["widths"]), state["layers"], text.config.hidden_size)
    for name, part in (("text", text), ("unet", unet)):
        prefix = name + "."
        part.load_state_dict({k[len(prefix) :]: v for k, v in state["average"].items() if k.startswith(prefix)})
    return text, unet, state


def published_names(folder):
    """The published Stable Diffusion folders prefix every key of the text encoder with "text_model."."""
    path = os.path.join(folder, "model.safetensors")
    weights = {
        k if k.startswith("text_model.") else "text_model." + k: v.contiguous()
        for k, v in load_file(path).items()
        if not k.endswith("position_ids")
    }
    save_file(weights, path, metadata={"format": "pt"})


def tidy(folder):
    """Configs without local paths, under the names that all versions of the libraries read."""
    for part in ("unet", "text_encoder", "vae"):
        path = os.path.join(folder, part, "config.json")
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
        config.pop("_name_or_path", None)
        if part == "vae":
            config.pop("block_out_channels", None)
        if part == "text_encoder":
            config["torch_dtype"] = config.pop("dtype", "float16")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(config, file, indent=2)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", required=True, help="output folder of unet.py")
    parser.add_argument("--vae", required=True, help="folder of the autoencoder")
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    text, unet, state = networks(args.run)
    shutil.rmtree(args.out, ignore_errors=True)
    shutil.copytree(os.path.join(args.run, "tokenizer"), os.path.join(args.out, "tokenizer"))
    vae = AutoencoderTiny.from_pretrained(args.vae, torch_dtype=torch.float32)
    for name, network in (("unet", unet), ("text_encoder", text), ("vae", vae)):
        reduced(network).save_pretrained(os.path.join(args.out, name))
    scheduler().save_pretrained(os.path.join(args.out, "scheduler"))
    published_names(os.path.join(args.out, "text_encoder"))
    tidy(args.out)
    with open(os.path.join(args.out, "model_index.json"), "w", encoding="utf-8") as file:
        json.dump(INDEX, file, indent=2)
    total = sum(os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(args.out) for f in files)
    print(f"{args.out}: {total} bytes, after {state['steps']} steps, {state['used'] / 60:.0f} minutes")


if __name__ == "__main__":
    main()
