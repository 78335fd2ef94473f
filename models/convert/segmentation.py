"""Converts MediaPipe's selfie segmentation.

    python models/convert/segmentation.py selfie_segmentation.tflite models/networks/segmentation/general.safetensors
    python models/convert/segmentation.py selfie_segmentation_landscape.tflite models/networks/segmentation/landscape.safetensors

Needs `tflite`, numpy and safetensors. Both files are in the PyPI package mediapipe 0.10.14, in
`mediapipe/modules/selfie_segmentation`. Weights keep their half precision; kernels are `[out, in, height, width]`. The
last layer, which makes two by two pixels of each, becomes one of four channels.
"""

import sys
from pathlib import Path

import numpy as np
import tflite
from safetensors.numpy import save_file

CONV, DEPTHWISE, CUSTOM = tflite.BuiltinOperator.CONV_2D, tflite.BuiltinOperator.DEPTHWISE_CONV_2D, tflite.BuiltinOperator.CUSTOM
DEQUANTIZE = tflite.BuiltinOperator.DEQUANTIZE
GATED = {0, 3, 4, 5, 6, 7}


def layers(path):
    """Kernel and bias of each layer with weights, in order, with the kind of layer."""
    model = tflite.Model.GetRootAsModel(Path(path).read_bytes(), 0)
    graph, stored, found = model.Subgraphs(0), {}, []

    def numbers(place):
        tensor = graph.Tensors(stored[place])
        assert tensor.Type() == tflite.TensorType.FLOAT16
        return model.Buffers(tensor.Buffer()).DataAsNumpy().view(np.float16).reshape(tensor.ShapeAsNumpy())

    for i in range(graph.OperatorsLength()):
        op = graph.Operators(i)
        code = model.OperatorCodes(op.OpcodeIndex())
        kind, inputs = max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), op.InputsAsNumpy()
        if kind == DEQUANTIZE:
            stored[op.Outputs(0)] = inputs[0]
        elif kind in (CONV, DEPTHWISE, CUSTOM):
            found.append((kind, numbers(inputs[1]), numbers(inputs[2])))
    return found


def names():
    yield "stem"
    for block in range(8):
        yield from (f"blocks.{block}.expand", f"blocks.{block}.depthwise")
        if block in GATED:
            yield from (f"blocks.{block}.gate.narrow", f"blocks.{block}.gate.widen")
        yield f"blocks.{block}.project"
    yield from ("top", "top_gate")
    for level in range(3):
        yield from (f"decoder.{level}.{part}" for part in ("up", "gate.narrow", "gate.widen", "mix", "depthwise"))
    yield "out"


def convert(found):
    out = {}
    for name, (kind, kernel, bias) in zip(names(), found, strict=True):
        assert (kind == DEPTHWISE) == name.endswith("depthwise") and (kind == CUSTOM) == (name == "out"), name
        if kind == CUSTOM:
            # One channel, [1, 2, 2, in]: a channel for each of the four pixels.
            assert kernel.shape[:3] == (1, 2, 2), kernel.shape
            kernel, bias = kernel.reshape(4, 1, 1, -1), bias.repeat(4)
        kernel = kernel.transpose(3, 0, 1, 2) if kind == DEPTHWISE else kernel.transpose(0, 3, 1, 2)
        out[f"{name}.weight"], out[f"{name}.bias"] = np.ascontiguousarray(kernel), np.ascontiguousarray(bias)
    return out


if __name__ == "__main__":
    save_file(convert(layers(sys.argv[1])), sys.argv[2], metadata={"format": "pt"})
