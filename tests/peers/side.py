"""A peer's side of a comparison: keeps a network with random weights warm, and times it on request.

    python tests/peers/side.py --backend openvino --dtype bf16 --part unet --name sd-turbo --config '{...}'

The driver (`src/main.rs`) starts it, and speaks to it as to its own sides (`src/side.rs`): after a first pass one line
`{"about": ...}`; then for each line `run N` one line `{"ms": [...]}` with the times of N passes, until the input ends.
With `--prepare` it only converts the network into the cache, which takes far more memory than running it.
"""

import argparse
import ctypes
import json
import os
import signal
import sys
import time


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", required=True, choices=["torch", "openvino", "onnxruntime"])
    parser.add_argument("--dtype", required=True, choices=["f32", "bf16", "int8"])
    parser.add_argument("--part", required=True, action="append", choices=["unet", "encoder", "decoder"])
    parser.add_argument("--name", required=True, help="the model's name, for names of cached files")
    parser.add_argument("--config", required=True, help="the network's config.json")
    parser.add_argument("--size", type=int, required=True, help="pixels to a side of the picture")
    parser.add_argument("--rows", type=int, required=True, help="rows of the batch")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--cache", required=True, help="folder for converted networks")
    parser.add_argument("--prepare", action="store_true", help="convert into the cache and end")
    return parser.parse_args()


def private_output():
    """The standard output, for us alone: what libraries print goes to the error output instead."""
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return output


def die_with_parent():
    """A side that the driver stopped would otherwise outlive it for ever."""
    pr_set_pdeathsig = 1
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def serve(passes, about, commands, output):
    """Answers each `run N` with the times of N passes, in milliseconds."""
    print(json.dumps({"about": about}), file=output, flush=True)
    for line in commands:
        _, count = line.split()
        times = []
        for _ in range(int(count)):
            start = time.perf_counter()
            for run in passes:
                run()
            times.append((time.perf_counter() - start) * 1e3)
        print(json.dumps({"ms": times}), file=output, flush=True)


def main():
    args = arguments()
    output = private_output()
    die_with_parent()
    # Read when the libraries are loaded, so before them.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(args.threads)
    os.environ["OMP_PROC_BIND"] = "true"

    import backends
    from networks import Network

    backend = backends.BACKENDS[args.backend](args.dtype, args.threads, args.cache)
    networks = [
        Network(args.name, part, json.loads(args.config), args.size, args.rows) for part in args.part
    ]
    if args.prepare:
        for network in networks:
            backend.prepare(network)
        return
    passes = [backend.load(network) for network in networks]
    for run in passes:
        run()
    serve(passes, backend.about(), sys.stdin, output)


if __name__ == "__main__":
    main()
