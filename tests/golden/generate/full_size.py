"""Writes a full-size UNet with random weights, and what diffusers makes of it, for `full_size` to compare.

    python tests/golden/generate/full_size.py MODEL FOLDER [LATENT_SIDE]
    cargo run --release -p dreamframe-tests --bin full_size FOLDER

MODEL is a name of `core/src/models/known.rs`, whose configuration is used: sd15, lcm-dreamshaper, sd-turbo, sdxs,
sdxs-dreamshaper, bk-sdm-tiny, sdxl-turbo, ssd-1b or segmind-vega. Weights are stored in half precision (0.7 to 5.1 GB), and
the golden is made in single precision from them, which takes twice that in memory on either side. Not for the
repository.
"""

import json
import re
import sys
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from networks import last, randomise, save
from safetensors.torch import save_file

KNOWN = Path(__file__).parents[3] / "core/src/models/known.rs"


def config_of(name):
    """Returns the UNet's configuration of a known model."""
    text = KNOWN.read_text()
    constant = re.search(rf'name: "{name}", unet: (\w+)', text)
    if constant is None:
        names = re.findall(r'name: "([^"]+)", unet', text)
        raise SystemExit(f"model: got {name!r}, expected one of {', '.join(names)}")
    return json.loads(re.search(rf'const {constant[1]}: &str =\s+r#"(.*?)"#', text, re.DOTALL)[1])


@torch.no_grad()
def main(name, folder, side=64):
    torch.manual_seed(7)
    config = config_of(name)
    # Without the library's own random start, which takes longer than all the rest, and in half precision until stored.
    with torch.device("meta"):
        model = UNet2DConditionModel(**config)
    model = randomise(model.half().to_empty(device="cpu"))
    save(model, folder / "unet")
    model.float()
    timesteps = torch.tensor([599])
    sample, states = torch.randn(1, 4, side, side), torch.randn(1, 77, config["cross_attention_dim"])
    golden = {
        "unet.sample": last(sample),
        "unet.timesteps": timesteps.to(torch.int32),
        "unet.encoder_hidden_states": states,
    }
    added = None
    if "addition_embed_type" in config:
        time_ids = torch.tensor([[512.0, 512, 0, 0, 512, 512]])
        added = dict(text_embeds=torch.randn(1, 1280), time_ids=time_ids)
        golden |= {"unet.pooled": added["text_embeds"], "unet.time_ids": time_ids}
    eps = model(sample, timesteps, encoder_hidden_states=states, added_cond_kwargs=added).sample
    golden["unet.eps"] = last(eps)
    print(f"eps: rms {eps.square().mean().sqrt():.3f}, largest {eps.abs().max():.3f}")
    save_file(golden, folder / "golden.safetensors")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))
