"""A server: WHIP publishers send the frames, and WHEP viewers receive the pictures.

Each line typed is the next prompt; the end of the input stops the server.

$ python examples/python/serve.py
"""

import sys

from dreamframe import StreamDiffusion, serve


def main(address: str = "127.0.0.1:8080") -> None:
    """Serves the demo model at `address`."""
    with StreamDiffusion() as stream, serve(stream, address=address) as server:
        print(f"publish to {server.whip_url}", f"watch {server.whep_url}", sep="\n", flush=True)
        for line in sys.stdin:
            server.update(prompt=line.strip())


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.exit("usage: serve.py [ADDRESS:PORT]")
    main(*sys.argv[1:])
