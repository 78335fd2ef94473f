"""Restyles one picture file.

$ python examples/python/hello.py in.png out.png "stained glass window"
"""

import sys

from PIL import Image

from dreamframe import StreamDiffusion, StreamDiffusionParams


def main(source: str, target: str, prompt: str = "stained glass window") -> None:
    """Restyles `source` and writes `target`."""
    params = StreamDiffusionParams.demo().model_copy(update={"prompt": prompt})
    with StreamDiffusion(params) as stream:
        picture = stream(Image.open(source))
    picture.to_pil().save(target)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit("usage: hello.py IN OUT [PROMPT]")
    main(*sys.argv[1:])
