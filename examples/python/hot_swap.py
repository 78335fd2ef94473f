"""Changes parameters while frames are processed: each picture is written with the latest prompt.

$ python examples/python/hot_swap.py in.png out-folder
"""

import sys
from pathlib import Path

from PIL import Image

from dreamframe import StreamDiffusion
from dreamframe.params import ParamsPatch

PATCHES: list[ParamsPatch] = [
    {"prompt": "moonlit night"},
    {"prompt": [("golden sunset", 0.5), ("blueprint", 0.5)]},
    {"t_index_list": [36, 41, 46], "seed": 5},
]


def main(source: str, folder: str) -> None:
    """Writes a picture of `source` into `folder` for each change."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    frame = Image.open(source)
    with StreamDiffusion() as stream:
        for index, patch in enumerate(PATCHES):
            # Invalid values are rejected as a whole, with every violation, and the stream continues unchanged.
            cost = stream.update(**patch)
            # A picture is made from the frame `delay` calls ago, so after this many calls pictures fully reflect the
            # parameters.
            for _ in range(stream.delay):
                stream(frame)
            path = Path(folder) / f"{index}.png"
            stream(frame).to_pil().save(path)
            print(f"{path}: {patch} ({cost})", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: hot_swap.py IN FOLDER")
    main(*sys.argv[1:])
