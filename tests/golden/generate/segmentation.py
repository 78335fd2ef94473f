"""Writes what MediaPipe's own runtime (its TensorFlow Lite interpreter) sees of a person in two small pictures.

    python tests/golden/generate/segmentation.py

Needs mediapipe 0.10.14 and safetensors. The pictures are cut out of that of `annotators.py`; each pixel is seen four times
in both directions, so that nothing is scaled on the way in. Of the masks, every third pixel is kept.
"""

from pathlib import Path

import numpy as np
from mediapipe.python.solutions.selfie_segmentation import SelfieSegmentation
from safetensors.numpy import load_file, save_file

ROOT = Path(__file__).parents[1]
TIMES, STEP = 4, 3


def main():
    person = load_file(ROOT / "annotators/golden.safetensors")["pose.picture"].astype(np.float32)
    # 96 pixels to 64, line by line and column by column: of three, two.
    keep = np.arange(96).reshape(-1, 3)[:, :2].flatten()
    small = (person[keep][:, keep] * 255).round().clip(0, 255).astype(np.uint8)
    golden = {}
    for selection, (name, picture) in enumerate([("general", small), ("landscape", small[6:42])]):
        with SelfieSegmentation(model_selection=selection) as network:
            large = np.ascontiguousarray(picture.repeat(TIMES, 0).repeat(TIMES, 1))
            mask = network.process(large).segmentation_mask
        print(name, large.shape, mask.shape, mask.min(), mask.max(), mask.mean())
        golden[f"{name}.picture"] = np.ascontiguousarray(picture, dtype=np.float16)
        golden[f"{name}.mask"] = np.ascontiguousarray(mask[::STEP, ::STEP, None]).astype(np.float32)
    folder = ROOT / "segmentation"
    folder.mkdir(exist_ok=True)
    save_file(golden, folder / "golden.safetensors")


if __name__ == "__main__":
    main()
