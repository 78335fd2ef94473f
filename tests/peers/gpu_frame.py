"""Times frames of SD-Turbo (with random weights) on a CUDA device with torch and diffusers, in half precision.

    gpu_frame.py [--size 512] [--rows 1] [--frames 100] [--modes eager,graph,compile]

A frame is what `dreamframe bench --model sd-turbo-random` times: bytes in the memory of the host, the encoder of TAESD, noise,
the UNet with one row per denoising step, a step of the scheduler, the decoder of TAESD, bytes in the memory of the host.
`eager` runs the modules as they are, `graph` repeats a captured CUDA graph, `compile` is torch.compile with CUDA graphs.
"""

import argparse
import time

import diffusers
import torch

UNET = {"cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20], "use_linear_projection": True}
TOKENS = 77
WARM_UP = 10


class Frame(torch.nn.Module):
    """From a picture in bytes, channels last, to the next one."""

    def __init__(self, size, rows):
        super().__init__()
        torch.manual_seed(1)
        self.unet = diffusers.UNet2DConditionModel(**UNET).half().cuda().eval()
        self.unet = self.unet.to(memory_format=torch.channels_last)
        self.autoencoder = diffusers.AutoencoderTiny().half().cuda().eval().to(memory_format=torch.channels_last)
        side = size // 8
        normal = lambda *shape: torch.randn(*shape, dtype=torch.float16, device="cuda")  # noqa: E731
        self.noise, self.text = normal(rows, 4, side, side), normal(rows, TOKENS, UNET["cross_attention_dim"])
        self.times = torch.full((rows,), 999, device="cuda")
        # The latents of earlier frames, which are at later steps.
        self.earlier = normal(rows - 1, 4, side, side)

    def forward(self, picture):
        image = picture.permute(2, 0, 1)[None].half() / 127.5 - 1
        latent = self.autoencoder.encoder(image.contiguous(memory_format=torch.channels_last))
        rows = torch.cat([0.1 * latent + 0.9 * self.noise[:1], self.earlier])
        epsilon = self.unet(rows, self.times, self.text, return_dict=False)[0]
        rows = (rows - 0.9 * epsilon) / 0.1
        if len(rows) > 1:
            self.earlier.copy_(rows[:-1])
        image = self.autoencoder.decoder(rows[-1:])[0]
        return ((image.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).contiguous()


def captured(frame, picture):
    """`frame` as a CUDA graph."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            frame(picture)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = frame(picture)

    def replay(new):
        picture.copy_(new)
        graph.replay()
        return result

    return replay


def measure(run, size, frames):
    """The times of frames in ms, sorted."""
    host = torch.randint(0, 256, (size, size, 3), dtype=torch.uint8).pin_memory()
    out = torch.empty_like(host).pin_memory()
    times = []
    for index in range(WARM_UP + frames):
        start = time.perf_counter()
        out.copy_(run(host.cuda(non_blocking=True)), non_blocking=True)
        torch.cuda.synchronize()
        if index >= WARM_UP:
            times.append(1e3 * (time.perf_counter() - start))
    return sorted(times)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--modes", default="eager,graph,compile")
    options = parser.parse_args()
    about = f"{torch.cuda.get_device_name()}, torch {torch.__version__}, diffusers {diffusers.__version__}"
    print(f"{about}, {options.size}x{options.size}, {options.rows} rows", flush=True)
    with torch.inference_mode():
        frame = Frame(options.size, options.rows)
        for mode in options.modes.split(","):
            start = time.perf_counter()
            if mode == "eager":
                run = frame
            elif mode == "graph":
                run = captured(frame, torch.zeros(options.size, options.size, 3, dtype=torch.uint8, device="cuda"))
            else:
                run = torch.compile(frame, mode="reduce-overhead")
            times = measure(run, options.size, options.frames)
            median, high = times[len(times) // 2], times[len(times) * 9 // 10]
            took = time.perf_counter() - start
            print(f"{mode:8} median {median:7.3f} ms, 90 % {high:7.3f} ms, first {took:.1f} s", flush=True)


if __name__ == "__main__":
    main()
