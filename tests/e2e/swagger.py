"""The Swagger UI test: starts the release binary, and swagger.cjs drives a browser on it.

Usage: swagger.py PATH_OF_THE_BINARY [SCREENSHOT.png]
Needs Node with ws and playwright-core (NODE_PATH), and Debian's Chromium.
"""

import os
import pathlib
import subprocess
import sys

sys.dont_write_bytecode = True

from life import Life  # noqa: E402
from stage import Failure, Server  # noqa: E402

SCRIPT = pathlib.Path(__file__).resolve().with_name("swagger.cjs")
TOKEN = "the-token-of-the-owner-in-the-browser-test"
SECONDS_AT_MOST = 120


def main():
    if len(sys.argv) not in (2, 3) or not pathlib.Path(sys.argv[1]).is_file():
        sys.exit("Usage: swagger.py PATH_OF_THE_BINARY [SCREENSHOT.png]")
    with Server(sys.argv[1], ADMIN__TOKEN=TOKEN) as server, Life(server, TOKEN):
        command = ["node", SCRIPT, server.admin, f"{server.host}:{server.port}", *sys.argv[2:]]
        environment = os.environ | {"SKYNET_E2E_TOKEN": TOKEN}
        try:
            done = subprocess.run(command, env=environment, timeout=SECONDS_AT_MOST, check=False)
        except subprocess.TimeoutExpired:
            raise Failure(f"the browser still runs after {SECONDS_AT_MOST} s") from None
        if done.returncode != 0:
            raise Failure("what is told above")


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"FAILED  {failure}")
    print("swagger: the page works")
