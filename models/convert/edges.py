"""Converts the published weights of TIN's two-stage edge network.

    python models/convert/edges.py TIN2.safetensors models/networks/edges/model.safetensors

Half precision, and the first layer over red, green and blue (it was trained on blue, green and red).
"""

import sys

from safetensors.torch import load_file, save_file

weights = load_file(sys.argv[1])
weights["conv1_1.weight"] = weights["conv1_1.weight"].flip(1)
save_file({name: value.half().contiguous() for name, value in weights.items()}, sys.argv[2], metadata={"format": "pt"})
