"""Download packages with their ordinary clients and read what is inside."""

import fnmatch
import hashlib
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path

ALLOWED = re.compile(r"^(public-domain|CC0(-1\.0)?|CC-BY-[1234]\.[05]|MIT|Expat|Apache-2\.0|BSD-[23]-clause)$", re.I)


class PackageError(Exception):
    """A package could not be downloaded, or is not the one the table names."""


def client_command(source, folder):
    """The command that downloads one package into a folder."""
    name, version = source["package"], source["version"]
    if source["kind"] == "npm":
        return ["npm", "pack", "--silent", "--pack-destination", str(folder), f"{name}@{version}"]
    if source["kind"] == "pip":
        return [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "-d",
            str(folder),
            *source.get("pip", []),
            f"{name}=={version}",
        ]
    if source["kind"] == "apt":
        return ["apt-get", "download", "-q", f"{name}={version}"]
    raise PackageError(f"unknown kind of package: {source['kind']}")


def fetch(source, cache):
    """The package's file, downloaded if need be, with its SHA-256 checked."""
    label = f"{source['kind']}-{source['package']}-{source['version']}"
    folder = cache / re.sub(r"[^A-Za-z0-9.+~-]+", "_", label)
    found = sorted(folder.glob("*")) if folder.exists() else []
    if not found:
        print(f"downloading {source['package']} {source['version']}", flush=True)
        with tempfile.TemporaryDirectory(dir=cache) as part:
            subprocess.run(
                client_command(source, Path(part).resolve()), cwd=part, check=True, stdout=subprocess.DEVNULL
            )
            files = list(Path(part).iterdir())
            if len(files) != 1:
                raise PackageError(f"expected one file, got {len(files)}")
            folder.mkdir(parents=True, exist_ok=True)
            shutil.move(str(files[0]), folder / files[0].name)
        found = sorted(folder.glob("*"))
    archive = found[0]
    wanted = source.get("sha256")
    if wanted and hashlib.sha256(archive.read_bytes()).hexdigest() != wanted:
        raise PackageError(f"{archive.name} is not the file the table names (SHA-256 differs)")
    return archive


def tar_members(stream, mode, wanted):
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for member in archive:
            name = member.name.removeprefix("./")
            if member.isfile() and wanted(name):
                yield name, archive.extractfile(member).read()


def raw_members(archive, wanted):
    """The (name, bytes) pairs of a .whl, .zip, .tgz, .tar.gz or .deb file."""
    if archive.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(archive) as package:
            for name in package.namelist():
                if wanted(name):
                    yield name, package.read(name)
    elif archive.suffix == ".deb":
        with tempfile.TemporaryFile() as stream:
            subprocess.run(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=stream, check=True)
            stream.seek(0)
            yield from tar_members(stream, "r:", wanted)
    else:
        with open(archive, "rb") as stream:
            yield from tar_members(stream, "r:*", wanted)


def read_members(archive, source, wanted):
    """The wanted members, in name order; looks into Qt resource files too."""
    if "resources" in source:
        found = []
        inside = re.compile(source["resources"])
        for _, data in raw_members(archive, lambda n: bool(inside.search(n))):
            found += [pair for pair in qt_resources(data) if wanted(pair[0])]
    else:
        found = list(raw_members(archive, wanted))
    return sorted(found, key=lambda pair: pair[0])


def qt_resources(data):
    """The (path, bytes) pairs of a binary Qt resource file (.rcc)."""
    if data[:4] != b"qres":
        return []
    version, tree, body, names = struct.unpack(">4I", data[4:20])
    size = 14 if version < 2 else 22
    found = []

    def name_at(offset):
        start = names + offset
        length = struct.unpack(">H", data[start : start + 2])[0]
        return data[start + 6 : start + 6 + 2 * length].decode("utf-16-be")

    def walk(index, path):
        at = tree + index * size
        name, flags = struct.unpack(">IH", data[at : at + 6])
        here = path + [name_at(name)] if index else path
        if flags & 2:
            count, first = struct.unpack(">II", data[at + 6 : at + 14])
            for child in range(first, first + count):
                walk(child, here)
            return
        start = body + struct.unpack(">I", data[at + 10 : at + 14])[0]
        length = struct.unpack(">I", data[start : start + 4])[0]
        content = data[start + 4 : start + 4 + length]
        if flags & 1:
            content = zlib.decompress(content[4:])
        if not flags & 4:
            found.append(("/".join(here), content))

    walk(0, [])
    return found


def stanzas(text):
    """The paragraphs of a machine-readable debian/copyright as dictionaries."""
    found, current, key = [], None, None
    for line in text.splitlines():
        field = re.match(r"([A-Za-z-]+):(.*)", line)
        if field:
            if field[1] == "Files":
                current = {}
                found.append(current)
            key = field[1]
            if current is not None:
                current[key] = field[2].strip()
        elif not line.strip():
            key = None
        elif current is not None and key:
            current[key] = current.get(key, "") + " " + line.strip()
    return found


def licence_filter(archive, source):
    """A test for member names: does debian/copyright give a free licence?

    Pictures may have been converted since the file was written, so names are
    compared without their endings. The last paragraph that matches counts.
    """
    rules = source["copyright"]
    text = next(d for _, d in raw_members(archive, lambda n: n == rules["file"]))
    paragraphs = stanzas(text.decode("utf-8", "replace"))

    def stem(name):
        return re.sub(r"\.[A-Za-z]+$", "", name)

    def allowed(member):
        name = rules.get("add", "") + member.removeprefix(rules.get("strip", ""))
        licence = ""
        for paragraph in paragraphs:
            if any(fnmatch.fnmatchcase(stem(name), stem(p)) for p in paragraph["Files"].split()):
                licence = (paragraph.get("License") or "?").split()[0]
        return bool(ALLOWED.match(licence))

    return allowed
