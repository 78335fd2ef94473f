"""The peers: each turns a network into a function without arguments that runs it once."""

import contextlib
import gc
import os
import shutil
import sys
import tempfile

# Samples that int8 quantisation looks at. Random ones: the time does not depend on the scales.
CALIBRATION_SAMPLES = 4

# A network of more numbers than this is stored in f16 for OpenVINO: SDXL's would fill 10 GB of disk and of page cache.
# In which format it computes is said by the precision hint alone.
MOST_IN_F32 = 1 << 30

# Values of oneDNN's limit of instructions without products of bf16, which OpenVINO computes slowly or refuses then.
WITHOUT_BF16 = ("AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI")


class Torch:
    """Eager mode. Channels last where that is the faster: in autoencoders, not in UNets."""

    def __init__(self, dtype, threads, _cache):
        import torch

        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self.torch, self.dtype = torch, {"f32": torch.float32, "bf16": torch.bfloat16}[dtype]

    def about(self):
        return f"torch {self.torch.__version__} eager"

    def prepare(self, network):
        """Nothing is converted."""

    def load(self, network):
        torch = self.torch
        module = network.module().to(self.dtype)
        # Timesteps stay in f32: 999 is no bf16 number.
        inputs = [
            tensor.to(self.dtype) if tensor.dim() > 1 else tensor for tensor in map(torch.from_numpy, network.inputs())
        ]
        if network.part != "unet":
            module = module.to(memory_format=torch.channels_last)
            inputs = [tensor.contiguous(memory_format=torch.channels_last) for tensor in inputs]

        def run():
            with torch.inference_mode():
                return module(*inputs)

        return run


class OpenVino:
    """The CPU plugin, one stream, pinned. Converted networks are cached, so that loading one needs no torch."""

    def __init__(self, dtype, threads, cache):
        import openvino

        self.openvino, self.int8, self.cache = openvino, dtype == "int8", cache
        bf16 = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() not in WITHOUT_BF16
        self.options = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": True,
            # What int8 leaves over runs in bf16, unless the instructions are limited to some that have none.
            "INFERENCE_PRECISION_HINT": "bf16" if dtype != "f32" and bf16 else "f32",
        }

    def about(self):
        return f"openvino {self.openvino.__version__.split('-')[0]}"

    def path(self, network):
        how = ["int8", CALIBRATION_SAMPLES] if self.int8 else []
        return os.path.join(self.cache, network.file_name(self.openvino.__version__, *how), "model.xml")

    def prepare(self, network):
        def write(folder):
            module, inputs = network.module(), network.inputs()
            numbers = sum(parameter.numel() for parameter in module.parameters())
            examples = tuple(map(tensor_of, inputs))
            shapes = [array.shape for array in inputs]
            model = self.openvino.convert_model(module, example_input=examples, input=shapes)
            if self.int8:
                model = quantised(model, inputs)
            path = os.path.join(folder, "model.xml")
            self.openvino.save_model(model, path, compress_to_fp16=numbers > MOST_IN_F32)

        write_once(os.path.dirname(self.path(network)), write)

    def load(self, network):
        inputs = network.inputs()
        compiled = self.openvino.Core().compile_model(self.path(network), "CPU", self.options)
        request = compiled.create_infer_request()
        gc.collect()
        return lambda: request.infer(inputs, share_inputs=True, share_outputs=True)


class OnnxRuntime:
    """The CPU provider, all optimisations on; f32 alone, for it computes in nothing else."""

    def __init__(self, dtype, threads, cache):
        import onnxruntime

        if dtype != "f32":
            sys.exit(f"onnxruntime computes in f32 alone, not in {dtype}")
        self.onnxruntime, self.threads, self.cache = onnxruntime, threads, cache

    def about(self):
        return f"onnxruntime {self.onnxruntime.__version__}"

    def path(self, network):
        return os.path.join(self.cache, network.file_name("onnx"), "model.onnx")

    def prepare(self, network):
        import torch

        def write(folder):
            examples = tuple(map(tensor_of, network.inputs()))
            path = os.path.join(folder, "model.onnx")
            with torch.no_grad():
                torch.onnx.export(network.module(), examples, path, dynamo=True, external_data=True)

        write_once(os.path.dirname(self.path(network)), write)

    def load(self, network):
        options = self.onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        # As the other sides have theirs: each thread on a core of its own, this one on the first.
        first, *others = sorted(os.sched_getaffinity(0))
        affinities = ";".join(str(core + 1) for core in others[: self.threads - 1])
        if affinities:
            options.add_session_config_entry("session.intra_op_thread_affinities", affinities)
        options.graph_optimization_level = self.onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        session = self.onnxruntime.InferenceSession(self.path(network), options, providers=["CPUExecutionProvider"])
        os.sched_setaffinity(0, {first})
        feed = dict(zip([entry.name for entry in session.get_inputs()], network.inputs(), strict=True))
        return lambda: session.run(None, feed)


BACKENDS = {"torch": Torch, "openvino": OpenVino, "onnxruntime": OnnxRuntime}


def tensor_of(array):
    import torch

    return torch.from_numpy(array)


def quantised(model, inputs):
    """`model` in W8A8, as NNCF quantises transformers after training."""
    import nncf
    import numpy as np

    random = np.random.default_rng(2)
    # Inputs with a batch row of several numbers are noise or states; timesteps stay as they are.
    other = lambda array: random.permuted(array, axis=-1) if array.ndim > 1 else array  # noqa: E731
    samples = [inputs] + [[other(array) for array in inputs] for _ in range(CALIBRATION_SAMPLES - 1)]
    with contextlib.redirect_stdout(sys.stderr):
        return nncf.quantize(
            model,
            nncf.Dataset(samples),
            subset_size=CALIBRATION_SAMPLES,
            fast_bias_correction=True,
            model_type=nncf.ModelType.TRANSFORMER,
        )


def write_once(folder, write):
    """Calls `write` to fill `folder`, unless it exists; it never exists partially."""
    if os.path.isdir(folder):
        return
    print(f"converting into {folder}", file=sys.stderr)
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    unfinished = tempfile.mkdtemp(dir=os.path.dirname(folder))
    try:
        write(unfinished)
        os.rename(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
