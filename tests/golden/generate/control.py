"""Writes tiny random ControlNets next to the checkpoints of `networks.py`, with diffusers' results.

    python tests/golden/generate/control.py [family ...]

Needs what `networks.py` needs, and what it has written. For each family there are `controlnet` and, with another number
of channels, `controlnet_6` in its folder, and `control.safetensors` (pictures and latents channels-last). What a
ControlNet has in common with its UNet has the UNet's weights and is not stored again. Weights and images are stored in
half precision, and the goldens made in single precision from the stored values.
"""

import sys
import zlib

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from networks import ROOT, SEED, last, randomise
from safetensors.torch import load_file, save_file

FAMILIES = ("sd15", "sd21", "sdxl", "sdxs-dreamshaper")
SCALE = 4


def channels_first(x):
    return x.permute(0, 3, 1, 2).contiguous()


def copy_of_half(unet, **options):
    """A ControlNet with the weights of the UNet's first half."""
    if unet.mid_block is not None:
        return ControlNetModel.from_unet(unet, **options)
    # A ControlNet always has a middle, as SDXS's does whose UNet has none.
    names = ("block_out_channels", "down_block_types", "layers_per_block", "cross_attention_dim", "attention_head_dim",
             "norm_num_groups", "use_linear_projection")
    made = ControlNetModel(**{name: unet.config[name] for name in names}, **options)
    shared = {name: value for name, value in unet.state_dict().items() if name in made.state_dict()}
    made.load_state_dict(shared, strict=False)
    randomise(made.mid_block)
    return made


def controlnet(unet, folder, channels):
    # Fewer layers before the latent than published ones have, to keep the images small.
    made = copy_of_half(unet, conditioning_embedding_out_channels=(4, 6, 8), conditioning_channels=channels)
    made.register_to_config(conditioning_channels=channels)
    own = [child for name, child in made.named_children() if name.startswith("controlnet_")]
    # The layers that start at zero are as random as the rest.
    for child in own:
        randomise(child)
    made.save_config(folder)
    known = unet.state_dict()
    state = {key: value.half() for key, value in made.state_dict().items() if key not in known}
    save_file(state, folder / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})
    return made.eval()


def random_image(channels, height, width):
    """One that half precision can hold."""
    return torch.rand(1, channels, height, width).half().float()


@torch.no_grad()
def family(name):
    torch.manual_seed(SEED + zlib.crc32(f"{name} control".encode()) % 1000)
    folder, golden = ROOT / name, {}
    unet = UNet2DConditionModel.from_pretrained(folder / "unet").eval()
    known = load_file(folder / "golden.safetensors")
    sample, timesteps = channels_first(known["unet.sample"]), known["unet.timesteps"]
    texts = known["unet.encoder_hidden_states"][known["unet.text_of_row"]]
    added = None
    if "unet.pooled" in known:
        added = dict(text_embeds=known["unet.pooled"], time_ids=known["unet.time_ids"])
    rows, _, height, width = sample.shape

    def control(folder, channels):
        net = controlnet(unet, folder, channels)
        image = random_image(channels, height * SCALE, width * SCALE)
        embedding = net.controlnet_cond_embedding(image)
        golden[f"{folder.name}.image"] = last(image).half()
        golden[f"{folder.name}.embedding"] = last(embedding)

        def run(scale, image):
            down, mid = net(sample, timesteps, texts, image.expand(rows, -1, -1, -1), scale, added_cond_kwargs=added,
                            return_dict=False)
            return [*down, mid]

        return image, run

    def predict(residuals):
        return last(unet(sample, timesteps, texts, added_cond_kwargs=added,
                         down_block_additional_residuals=residuals[:-1],
                         mid_block_additional_residual=residuals[-1]).sample)

    image, one = control(folder / "controlnet", 3)
    for i, residual in enumerate(one(1.0, image)):
        golden[f"controlnet.residual.{i}"] = last(residual)[1]
    golden["one.eps"] = predict(one(0.6, image))
    if name == "sd15":
        other, two = control(folder / "controlnet_6", 6)
        both = [a + b for a, b in zip(one(0.6, image), two(0.35, other))]
        golden["two.eps"] = predict(both)
        # Each row its own image, half as bright as the row before; the second network for the last rows alone.
        images = torch.cat([image * 0.5**row for row in range(rows)])
        mask = torch.tensor([0.0, 1.0, 1.0]).view(-1, 1, 1, 1)
        both = [a + mask * b for a, b in zip(one(0.6, images), two(0.35, other))]
        golden["rows.eps"] = predict(both)
    save_file({key: value.clone().contiguous() for key, value in golden.items()}, folder / "control.safetensors")
    for key, value in golden.items():
        print(f"{name:8} {key:24} {tuple(value.shape)} rms {value.float().square().mean().sqrt():.3f}")


if __name__ == "__main__":
    for wanted in sys.argv[1:] or FAMILIES:
        family(wanted)
