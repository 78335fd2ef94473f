"""Train a ControlNet of the demo model: the frozen UNet draws along the lines of a control image.

In a part of the samples the photo is reduced to its rough colours, so that structure can come from the control image
alone. Timesteps with much noise, at which the photo's lines are lost, get most of the samples.
"""

import os

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from diffusers import ControlNetModel
from diffusers.models.attention_processor import AttnProcessor

from diffusion import Frozen, Schedule
from export import MOST_OF_EXTRAS, reduced
from samples import Samples
from training import Training, autocast, launch, options, quick_backward

# Attention to words is the base's task: without it at the second level, the file is smaller and a run takes less time.
SMALLER = {
    "down_block_types": ("DownBlock2D", "DownBlock2D"),
    "only_cross_attention": False,
    "conditioning_embedding_out_channels": (8, 16, 32, 64),
}


def build(unet):
    """A ControlNet that starts with the weights of the UNet, and changes nothing yet."""
    whole = ControlNetModel.from_unet(unet)
    net = ControlNetModel.from_config(dict(whole.config) | SMALLER)
    own, given = net.state_dict(), whole.state_dict()
    net.load_state_dict(
        {
            name: given.get(name, value) if not name.startswith("controlnet_cond") else value
            for name, value in own.items()
        }
    )
    return net


def canny(picture, rng):
    """Edges as the processor `canny` finds them, with thresholds around its defaults; white on black."""
    low = rng.uniform(60, 140)
    edges = cv2.Canny(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), low, 2 * low)
    return np.repeat(edges[..., None], 3, -1)


# Rows and columns of the gradients of the processor `soft_edge`, their factors and the weights of their magnitudes.
SCALES = (
    ([([-1, 0, 1], [1, 2, 1])], 1, 0.5),
    ([([-1, -2, 0, 2, 1], [1, 0, 1, 0, 1]), ([-2, -3, 0, 3, 2], [0, 1, 1, 1, 0])], 1 / 16, 0.3),
    ([([-1, -2, -3, 0, 3, 2, 1], [1] * 7), ([-1, -1, -1, 0, 1, 1, 1], [0, 1, 2, 3, 2, 1, 0])], 1 / 32, 0.2),
)


def soft_edge(picture, rng):
    """Edges as the processor `soft_edge` finds them. It divides by the strongest of a frame, which a crop may lack."""
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    edges = np.zeros_like(gray)
    for kernels, factor, weight in SCALES:
        across, down = (
            sum(
                cv2.sepFilter2D(gray, -1, *map(np.float32, pair[::order]), borderType=cv2.BORDER_CONSTANT)
                for pair in kernels
            )
            for order in (1, -1)
        )
        edges += weight * factor * np.hypot(across, down)
    edges = cv2.sepFilter2D(edges, -1, *[np.float32([1, 4, 6, 4, 1]) / 16] * 2, borderType=cv2.BORDER_CONSTANT)
    strongest = edges.max() * rng.uniform(1.0, 1.8) + 1e-8
    edges = 255 / (1 + np.exp(3 - 6 * edges / strongest))
    return np.repeat(edges[..., None].round().astype(np.uint8), 3, -1)


CONTROLS = {"canny": canny, "softedge": soft_edge}


def rough(latents):
    """The colours of a latent picture without its lines."""
    return F.interpolate(F.avg_pool2d(latents, 8), scale_factor=8, mode="bilinear")


class Trainer:
    def __init__(self, args):
        self.args, self.device = args, torch.device(args.device)
        self.base = Frozen(args.model, args.device)
        self.net = build(self.base.unet).requires_grad_(True)
        self.net.to(self.device, memory_format=torch.channels_last)
        if self.device.type == "cpu":
            self.net.set_attn_processor(AttnProcessor())
            quick_backward(self.net)
        self.schedule = Schedule(self.device, args.inner, args.inner_share)
        self.training = Training(self.net, args)
        self.samples = Samples(args.data, self.training.rng)

    def save(self):
        self.training.save()
        out = ControlNetModel.from_config(self.net.config)
        out.load_state_dict(self.training.average.values)
        reduced(out, MOST_OF_EXTRAS).save_pretrained(os.path.join(self.args.out, "controlnet"))

    def step(self):
        args, n, rng = self.args, self.args.batch, self.training.rng
        batch = self.samples.draw(n, args.crop, photo=args.photo_share)
        photo, target = batch.tensors(self.device)
        control = np.stack([CONTROLS[args.control](np.ascontiguousarray(p), rng) for p in batch.photos])
        control = torch.from_numpy(control).to(self.device).permute(0, 3, 1, 2).float() / 255
        # A black image changes nothing.
        control = torch.where(torch.rand(n, 1, 1, 1, device=self.device) < 0.9, control, 0.0)
        given = torch.where(torch.rand(n, 1, 1, 1, device=self.device) < args.rough_share, rough(photo), photo)
        noised, words = self.base.noised(given, self.schedule), self.base.words(batch.prompts)
        with autocast(self.device):
            down, middle = self.net(*noised[:2], words, control, return_dict=False)
        residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
        loss, error = self.base.loss(noised, words, target, **residuals)
        self.training.learn(loss, error=error)


def main():
    parser = options(__doc__, minutes=60, batch=32, rate=1e-3)
    parser.add_argument("--model", required=True, help="folder of the model, written by export.py")
    parser.add_argument("--control", required=True, choices=CONTROLS)
    parser.add_argument("--crop", type=int, default=16, help="side of a crop in latents")
    parser.add_argument("--photo-share", type=float, default=0.1)
    parser.add_argument("--rough-share", type=float, default=0.4, help="share of samples whose photo has no lines")
    parser.add_argument("--inner", type=int, nargs=2, default=[300, 700])
    parser.add_argument("--inner-share", type=float, default=0.6)
    launch(Trainer, parser.parse_args())


if __name__ == "__main__":
    main()
