"""Writes a tiny random network of lines in the layout of `netG.pth`, and what controlnet_aux makes of it.

    python tests/golden/generate/anime.py CONTROLNET_AUX

Needs torch, safetensors and the folder of the package controlnet_aux (0.0.10, Apache-2.0, from PyPI; nothing of what it
depends on). Weights are stored in half precision, and the golden made in single precision from the stored values.
"""

import ast
import functools
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

ROOT = Path(__file__).parents[1] / "anime"
SEED = 20251104


def generator(package):
    """The class of the network, without what its module imports."""
    tree = ast.parse((Path(package) / "lineart_anime" / "__init__.py").read_text())
    tree.body = [x for x in tree.body if isinstance(x, ast.ClassDef) and x.name.startswith("Unet")]
    names = {"nn": nn, "torch": torch, "functools": functools}
    exec(compile(tree, "lineart_anime", "exec"), names)
    return names["UnetGenerator"]


def main():
    torch.manual_seed(SEED)
    norm = functools.partial(nn.InstanceNorm2d, affine=False, track_running_stats=False)
    network = generator(sys.argv[1])(3, 1, 5, 2, norm_layer=norm).eval()
    for name, value in network.named_parameters():
        with torch.no_grad():
            size = 0.1 if name.endswith("bias") else 1.2 / value[0].numel() ** 0.5
            value.copy_((size * torch.randn_like(value)).half().float())
    # As the published file has them.
    state = {f"module.{name}": value.half().contiguous() for name, value in network.state_dict().items()}
    path = ROOT / "models" / "lllyasviel" / "Annotators" / "netG.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path, metadata={"format": "pt"})

    picture = F.interpolate(torch.rand(1, 3, 6, 6), size=(32, 64), mode="bicubic").clamp(0, 1).half().float()
    with torch.no_grad():
        line = (network(picture.clone() * 2 - 1) * 127.5 + 127.5).clip(0, 255)
    lines = (255 - line) / 255
    print(lines.min(), lines.max(), lines.std())
    golden = {"picture": picture[0].permute(1, 2, 0), "lines": lines[0].permute(1, 2, 0)}
    save_file({name: value.contiguous() for name, value in golden.items()}, ROOT / "golden.safetensors")


if __name__ == "__main__":
    main()
