"""Figures and a contact sheet of an exported model, on pictures and wordings that training did not see.

Style match: share of (picture, style) pairs whose result is nearer, in the autoencoder's latents, to the right filter's
picture than to all others. Sharpness: mean absolute slope of the result divided by that of the filter's picture.
Flicker: mean absolute change, in levels of 0..255, between frames of a static scene with a camera's noise.
"""

import argparse
import json

import numpy as np
from PIL import Image, ImageDraw

from dataset import held_out
from prompts import TEST
from stream import Stream
from styles import NAMES, STYLES
from training import sharpness, to_signed


def compare(stream, pictures, words, lists, names):
    """Figures of each list, and the results: {list: (pictures, styles, size, size, 3)}."""
    targets = [[STYLES[name](picture) for name in names] for picture in pictures]
    inputs = [stream.encode([picture]) for picture in pictures]
    goals = [stream.encode(row) for row in targets]
    coded = [
        [sharpness(d) / max(sharpness(t), 1e-3) for d, t in zip(to_signed(stream.decode(z)), to_signed(np.stack(row)))]
        for z, row in zip(goals, targets)
    ]
    figures, results = {"autoencoder": {"sharpness": round(float(np.mean(coded)), 3)}}, {}
    for key, indices in lists.items():
        wrong, errors, sharp, drawn = [], [], [], []
        for n, (z, goal, row) in enumerate(zip(inputs, goals, targets)):
            x0 = stream.run(z.expand(len(names), -1, -1, -1), words, indices)
            distance = ((x0[:, None] - goal[None]) ** 2).mean((2, 3, 4))
            nearest = distance.argmin(1).tolist()
            wrong += [f"{n}:{names[k]}->{names[got]}" for k, got in enumerate(nearest) if got != k]
            errors += distance.diagonal().tolist()
            out = stream.decode(x0)
            sharp.append(
                [sharpness(d) / max(sharpness(t), 1e-3) for d, t in zip(to_signed(out), to_signed(np.stack(row)))]
            )
            drawn.append(out)
        results[key] = drawn
        figures[key] = {
            "style_match": round(1 - len(wrong) / (len(names) * len(pictures)), 3),
            "latent_error": round(float(np.mean(errors)), 4),
            "sharpness": round(float(np.mean(sharp)), 3),
            "wrong": wrong,
            "sharpness_of_each": {k: round(float(v), 2) for k, v in zip(names, np.mean(sharp, 0))},
        }
    return figures, results, targets


def flicker(stream, picture, words, lists, names, frames=8, noise=2.0):
    """The mean change between frames of a still picture with noise, for the autoencoder alone and for each list."""
    rng = np.random.default_rng(0)
    clip = [np.clip(picture + rng.normal(0, noise, picture.shape), 0, 255).astype(np.uint8) for _ in range(frames)]

    def change(pictures):
        return round(float(np.abs(np.diff(pictures.astype(np.float32), axis=0)).mean()), 3)

    z = stream.encode(clip)
    out = {"input": change(np.stack(clip)), "autoencoder": change(stream.decode(z))}
    for key, indices in lists.items():
        each = [
            change(stream.decode(stream.run(z, words[k : k + 1].expand(frames, -1, -1), indices)))
            for k in range(len(names))
        ]
        out[key] = {"mean": round(float(np.mean(each)), 3), "most": f"{names[int(np.argmax(each))]} {max(each)}"}
    return out


def sheet(path, names, targets, results, thumb):
    """Rows are styles; for each picture the filter's picture, then the result of each list."""
    columns, label = 1 + len(results), 80
    page = Image.new("RGB", (label + thumb * columns * len(targets), 14 + thumb * len(names)), "white")
    draw = ImageDraw.Draw(page)
    for n, row in enumerate(targets):
        for j, title in enumerate(["filter", *results]):
            left = label + (columns * n + j) * thumb
            draw.text((left + 3, 1), title, fill="black")
            for k in range(len(names)):
                picture = row[k] if j == 0 else results[title][n][k]
                page.paste(Image.fromarray(picture).resize((thumb, thumb), Image.LANCZOS), (left, 14 + k * thumb))
    for k, name in enumerate(names):
        draw.text((3, 14 + k * thumb + thumb // 2 - 6), name, fill="black")
    page.save(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder written by export.py")
    parser.add_argument("--held-out", required=True, help="folder of pictures that training did not see")
    parser.add_argument("--pictures", type=int, default=6)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--lists", nargs="+", default=["20", "16,32", "45", "41,46"], help="t_index lists of 50 steps")
    parser.add_argument("--sheet", help="picture to write")
    parser.add_argument("--sheet-pictures", type=int, default=4)
    parser.add_argument("--thumb", type=int, default=128)
    parser.add_argument("--metrics", help="JSON to write")
    parser.add_argument("--styles", nargs="+", default=NAMES)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    stream = Stream(args.model, args.device)
    pictures = held_out(args.held_out, args.size, args.pictures)
    words = stream.embed([TEST[name] for name in args.styles])
    lists = {key: [int(v) for v in key.split(",")] for key in args.lists}
    figures, results, targets = compare(stream, pictures, words, lists, args.styles)
    figures["flicker"] = flicker(stream, pictures[0], words, lists, args.styles)
    print(json.dumps(figures, indent=1))
    if args.metrics:
        with open(args.metrics, "w", encoding="utf-8") as file:
            json.dump({"size": args.size, "pictures": len(pictures)} | figures, file, indent=1)
    if args.sheet:
        some = args.sheet_pictures
        sheet(args.sheet, args.styles, targets[:some], {k: v[:some] for k, v in results.items()}, args.thumb)


if __name__ == "__main__":
    main()
