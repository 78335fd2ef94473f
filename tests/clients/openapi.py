"""The server against its own OpenAPI document: `python openapi.py BASE PHASES`.

The document must be sound, and whatever schemathesis sends, each reply must be one that the document has: its status,
its content type, its body. No reply may be a server error. Which requests are refused is not looked at: the server
takes more than it documents, as old clients need, and rules between parameters are no part of the document.

`PHASES` are schemathesis's: `fuzzing` sends five requests for each operation, `coverage` every boundary value.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
from openapi_spec_validator import validate

CHECKS = ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"]


def main(base: str, phases: str) -> None:
    """Checks the document, then the server."""
    address = f"{base}/openapi.json"
    validate(httpx.get(address).raise_for_status().json())
    command = [Path(sys.executable).with_name("schemathesis"), "run", address, "--url", base, "--no-color"]
    command += ["--checks", ",".join(CHECKS), "--phases", phases, "--max-examples", "5"]
    command += ["--generation-deterministic", "--warnings", "off"]
    # For recommendations, the server measures the machine, which takes long while that is busy.
    command += ["--suppress-health-check", "all", "--continue-on-failure", "--request-timeout", "120"]
    hooks = {"SCHEMATHESIS_HOOKS": "openapi_hooks", "PYTHONPATH": str(Path(__file__).parent)}
    # It leaves files where it runs.
    with tempfile.TemporaryDirectory() as folder:
        code = subprocess.run(command, check=False, cwd=folder, env={**os.environ, **hooks}).returncode
    sys.exit(code)


main(*sys.argv[1:])
