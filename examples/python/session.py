"""Runs a stream on its own thread, in a program that displays its pictures.

A moving pattern is submitted at 30 frames per second while the prompt changes. The result is written as one sheet,
with frames above their pictures.

    $ python examples/python/session.py sheet.png
"""

import sys
import time

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dreamframe import Picture, Session, StreamDiffusion, StreamDiffusionParams

SIDE = 256
LIMIT = 60.0
PROMPTS = ["ink line art", "a blueprint", "cyberpunk city, neon lights", "stained glass window"]


def main(target: str, frames_per_prompt: int = 30) -> None:
    """Writes `target`, a sheet with a column for each prompt."""
    params = StreamDiffusionParams.demo().model_copy(update={"width": SIDE, "height": SIDE})
    sheet = Image.new("RGB", (SIDE * len(PROMPTS), SIDE * 2))
    with StreamDiffusion(params) as stream, stream.start() as session:
        for column, prompt in enumerate(PROMPTS):
            # Checked now, prepared beside the frames, applied between two of them.
            ticket = session.update(prompt=prompt)
            picture: Picture | None = None
            for index in range(frames_per_prompt):
                newest = feed(session, pattern(column * frames_per_prompt + index))
                picture = picture if newest is None else newest
            session.wait_for(ticket, LIMIT)
            last = pattern((column + 1) * frames_per_prompt)
            while picture is None or picture.version < ticket.version:
                session.submit(last)
                picture = session.wait(LIMIT)
            sheet.paste(Image.fromarray(last), (column * SIDE, 0))
            sheet.paste(picture.to_pil(), (column * SIDE, SIDE))
        stats = session.stats()
    sheet.save(target)
    counts = [f"{stats[name]['total']} {name}" for name in ("submitted", "computed", "dropped")]
    print(", ".join(counts), file=sys.stderr)


def feed(session: Session, frame: NDArray[np.uint8]) -> Picture | None:
    """Submits a frame, and returns the newest picture when the next frame is due."""
    session.submit(frame)
    time.sleep(1 / 30)
    return session.poll()


def pattern(index: int) -> NDArray[np.uint8]:
    """Draws a disc that moves in a circle on a gradient."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    ground = np.stack([x // 2, 40 + y // 2, np.full_like(x, 120)], axis=-1)
    centre_x, centre_y = (SIDE * (0.5 + 0.3 * turn(index * 0.05)) for turn in (np.cos, np.sin))
    inside = np.hypot(x - centre_x, y - centre_y) < SIDE * 0.15
    return np.where(inside[..., None], (240, 210, 60), ground).astype(np.uint8)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: session.py OUT.png [FRAMES_PER_PROMPT]")
    main(sys.argv[1], *map(int, sys.argv[2:]))
