"""Writes a full-size UNet with random weights, and what diffusers makes of it, for `full_size` to compare.

    python tests/golden/generate/full_size.py sd-turbo|sdxl-turbo FOLDER [LATENT_SIDE [DEPTH]]
    cargo run --release -p dreamframe-tests --bin full_size FOLDER

Weights are stored in half precision (1.7 and 5.1 GB), and the golden is made in single precision from them, which takes
twice that in memory on either side; DEPTH, 10 if not given, makes SDXL's deepest transformers shallower where there is
less. Not for the repository.
"""

import sys
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from networks import last, randomise, save
from safetensors.torch import save_file

SD_TURBO = dict(cross_attention_dim=1024, attention_head_dim=(5, 10, 20, 20), use_linear_projection=True)
SDXL_TURBO = dict(
    block_out_channels=(320, 640, 1280),
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    transformer_layers_per_block=(1, 2, 10),
    attention_head_dim=(5, 10, 20),
    cross_attention_dim=2048,
    use_linear_projection=True,
    addition_embed_type="text_time",
    addition_time_embed_dim=256,
    projection_class_embeddings_input_dim=2816,
)


@torch.no_grad()
def main(name, folder, side=64, depth=10):
    torch.manual_seed(7)
    config = {"sd-turbo": SD_TURBO, "sdxl-turbo": dict(SDXL_TURBO, transformer_layers_per_block=(1, 2, depth))}[name]
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
    if name == "sdxl-turbo":
        time_ids = torch.tensor([[512.0, 512, 0, 0, 512, 512]])
        added = dict(text_embeds=torch.randn(1, 1280), time_ids=time_ids)
        golden |= {"unet.pooled": added["text_embeds"], "unet.time_ids": time_ids}
    eps = model(sample, timesteps, encoder_hidden_states=states, added_cond_kwargs=added).sample
    golden["unet.eps"] = last(eps)
    print(f"eps: rms {eps.square().mean().sqrt():.3f}, largest {eps.abs().max():.3f}")
    save_file(golden, folder / "golden.safetensors")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))
