"""How far results of the demo model follow the control image of a ControlNet, with and without it.

Adherence: the probability that a pixel on the edges of the picture that the control image was made from (as the
processor `canny` finds them) has a steeper slope in the result than a pixel that is at least six pixels from all
edges; 0.5 is chance. Pictures and wordings are held out. It is given for two inputs: the picture itself, and the
picture's rough colours, where all lines have to come from the control image. The sheet shows, for each prompt and
picture, the results without and with the ControlNet.
"""

import argparse
import json

import cv2
import numpy as np
import torch
from diffusers import ControlNetModel
from PIL import Image, ImageDraw

from control import CONTROLS, canny, rough
from dataset import held_out
from prompts import TEST
from stream import Stream


class Middle:
    """In place of a random generator: the middle of the range that training draws from."""

    @staticmethod
    def uniform(low, high):
        return (low + high) / 2


def steepness(picture):
    """The largest slope of brightness within a pixel of each pixel."""
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    slope = np.hypot(cv2.Sobel(gray, -1, 1, 0), cv2.Sobel(gray, -1, 0, 1))
    return cv2.dilate(slope, np.ones((3, 3), np.uint8))


def adherence(result, picture):
    """The area under the curve of "this slope is an edge" for a result, by ranks."""
    edges = canny(picture, Middle)[..., 0]
    distance = cv2.distanceTransform(255 - edges, cv2.DIST_L2, 5)
    slope = steepness(result)
    on, off = slope[distance == 0], slope[distance >= 6]
    off.sort()
    below = np.searchsorted(off, on, "left") + np.searchsorted(off, on, "right")
    return float(below.mean() / 2 / max(len(off), 1))


def results(stream, network, pictures, images, words, indices):
    """The results of all prompts: {input: {"without" or "with": [one array of pictures for each picture]}}."""
    latents = [stream.encode([picture]) for picture in pictures]
    out = {}
    for name, inputs in (("picture", latents), ("rough colours", [rough(z) for z in latents])):
        out[name] = {"without": [], "with": []}
        for z, image in zip(inputs, images):
            rows = z.expand(len(words), -1, -1, -1)
            control = (network, image.expand(len(words), -1, -1, -1))
            for key, given in (("without", None), ("with", control)):
                out[name][key].append(stream.decode(stream.run(rows, words, indices, given)))
    return out


def sheet(path, names, pictures, controls, drawn, thumb):
    """Rows are prompts; for each picture the result without and with the ControlNet, below its control image."""
    label, top = 80, 14 + thumb
    page = Image.new("RGB", (label + 2 * thumb * len(pictures), top + thumb * len(names)), "white")
    draw = ImageDraw.Draw(page)

    def paste(picture, column, y):
        page.paste(Image.fromarray(picture).resize((thumb, thumb), Image.LANCZOS), (label + column * thumb, y))

    for n, (picture, control) in enumerate(zip(pictures, controls)):
        for j, (title, first) in enumerate((("without", picture), ("with", control))):
            draw.text((label + (2 * n + j) * thumb + 3, 1), title, fill="black")
            paste(first, 2 * n + j, 14)
            for k in range(len(names)):
                paste(drawn[title][n][k], 2 * n + j, top + k * thumb)
    for k, name in enumerate(names):
        draw.text((3, top + k * thumb + thumb // 2 - 6), name, fill="black")
    page.save(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder written by export.py")
    parser.add_argument("--controlnet", required=True, help="folder written by control.py")
    parser.add_argument("--control", required=True, choices=CONTROLS)
    parser.add_argument("--held-out", required=True, help="folder of pictures that training did not see")
    parser.add_argument("--pictures", type=int, default=4)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--lists", nargs="+", default=["20", "41,46"], help="t_index lists of 50 steps")
    parser.add_argument("--styles", nargs="+", default=list(TEST))
    parser.add_argument("--sheet", help="picture to write, of the first list and the picture as input")
    parser.add_argument("--thumb", type=int, default=128)
    args = parser.parse_args()
    stream = Stream(args.model)
    network = ControlNetModel.from_pretrained(args.controlnet, torch_dtype=torch.float32).eval()
    pictures = held_out(args.held_out, args.size, args.pictures)
    controls = [CONTROLS[args.control](picture, Middle) for picture in pictures]
    images = [torch.from_numpy(c).permute(2, 0, 1)[None].float() / 255 for c in controls]
    words = stream.embed([TEST[name] for name in args.styles])
    figures = {}
    for position, key in enumerate(args.lists):
        drawn = results(stream, network, pictures, images, words, [int(v) for v in key.split(",")])
        figures[key] = {
            name: {
                case: round(
                    float(np.mean([adherence(r, p) for p, row in zip(pictures, rows) for r in row])),
                    3,
                )
                for case, rows in cases.items()
            }
            for name, cases in drawn.items()
        }
        if args.sheet and position == 0:
            sheet(args.sheet, args.styles, pictures, controls, drawn["picture"], args.thumb)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
