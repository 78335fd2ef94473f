"""Writes a tiny random network of optical flow in torchvision's layout of RAFT-small, and what torchvision makes of it.

    python tests/golden/generate/flow.py [FOLDER]

Needs torch, torchvision and safetensors. With FOLDER, the network has the published one's size, and is written there.
Weights are stored in half precision, and the goldens made in single precision from the stored values. Everything is
channels-last; the flow is that of every fourth pixel.
"""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torchvision.models.optical_flow import raft, raft_small
from torchvision.utils import flow_to_image

FILE = "torchvision/raft_small/raft_small_C_T_V2-01064c6d.safetensors"
SEED = 20251103
SIZE = (128, 136)


def tiny():
    return raft._raft(
        feature_encoder_layers=(8, 8, 12, 16, 24),
        feature_encoder_block=raft.BottleneckBlock,
        feature_encoder_norm_layer=torch.nn.InstanceNorm2d,
        context_encoder_layers=(8, 8, 12, 16, 20),
        context_encoder_block=raft.BottleneckBlock,
        context_encoder_norm_layer=None,
        corr_block_num_levels=4,
        corr_block_radius=3,
        motion_encoder_corr_layers=(16,),
        motion_encoder_flow_layers=(12, 8),
        motion_encoder_out_channels=18,
        recurrent_block_hidden_state_size=12,
        recurrent_block_kernel_size=(3,),
        recurrent_block_padding=(1,),
        flow_head_hidden_size=16,
        use_mask_predictor=False,
    )


def randomise(network):
    for name, value in network.named_parameters():
        with torch.no_grad():
            if name.endswith("bias"):
                value.copy_(0.1 * torch.randn_like(value))
            else:
                value.copy_(torch.randn_like(value) * 1.3 / value[0].numel() ** 0.5)
            # Some pixels, so that all rounds look inside the picture.
            value.mul_(0.1 if "flow_head.conv2" in name else 1)
            value.copy_(value.half().float())
    return network.eval()


def last(x):
    return x[0].permute(1, 2, 0).contiguous()


def main():
    torch.manual_seed(SEED)
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "flow"
    network = randomise(raft_small() if len(sys.argv) > 1 else tiny())
    weights = folder / "models" / FILE
    weights.parent.mkdir(parents=True, exist_ok=True)
    state = network.state_dict()
    save_file({name: value.half().contiguous() for name, value in state.items()}, weights, metadata={"format": "pt"})

    ground = F.interpolate(torch.rand(1, 3, 9, 9), size=(20, 22), mode="bicubic").clamp(0, 1).half().float()
    frames = [ground[:, :, 2:18, 2:19].contiguous(), ground[:, :, 1:17, 3:20].contiguous()]
    with torch.no_grad():
        large = [F.interpolate(frame, size=SIZE, mode="bilinear") * 2 - 1 for frame in frames]
        steps = network(*large)
        flow = steps[-1]
        shown = flow_to_image(flow).float() / 255
        small = F.interpolate(shown, size=frames[0].shape[2:], mode="bilinear")
    print([round(step.abs().max().item(), 3) for step in steps], flow.abs().mean())
    golden = {
        "previous": last(frames[0]),
        "current": last(frames[1]),
        "flow": last(flow)[::4, ::4],
        "shown": last(small),
    }
    save_file({name: value.contiguous() for name, value in golden.items()}, folder / "golden.safetensors")


if __name__ == "__main__":
    main()
