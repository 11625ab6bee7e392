"""TLS and Unix sockets, by clients that are not ours: Python's `websockets` and curl.

Usage: listeners.py PATH_OF_THE_BINARY
Needs: this Python with `websockets`, curl, openssl.
"""

import asyncio
import json
import pathlib
import ssl
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True

import websockets  # noqa: E402
from certificate import certificate  # noqa: E402
from stage import DEADLINE_S, Failure, Server  # noqa: E402

TOKEN = "the-owner-of-this-test-0123456789"


def check(condition, expectation, *seen):
    if not condition:
        raise Failure("; ".join([expectation, *map(str, seen)]))


def curl(*arguments):
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--max-time", str(DEADLINE_S), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


async def talk(url, trust):
    async with (
        websockets.connect(url, ssl=trust) as listener,
        websockets.connect(url, ssl=trust) as publisher,
    ):
        await listener.send(json.dumps({"type": "open", "channel": "x"}))
        await listener.recv()
        for size in [1, 100 * 1024]:
            text = "p" * size
            command = {"type": "message", "channel": "x", "message": text}
            await publisher.send(json.dumps(command))
            await publisher.recv()
            event = json.loads(await listener.recv())
            check(event["message"] == text, f"a message of {size} bytes arrives over TLS")


def computers_and_browsers_reach_the_hub_over_tls(binary, folder):
    chain, key = certificate(folder, "localhost", "127.0.0.1")
    settings = {"HUB__TLS__CERTIFICATE": str(chain), "HUB__TLS__KEY": str(key)}
    with Server(binary, **settings) as server:
        trust = ssl.create_default_context(cafile=str(chain))
        url = f"wss://localhost:{server.port}/connect"
        asyncio.run(asyncio.wait_for(talk(url, trust), DEADLINE_S))
        page = f"https://localhost:{server.port}/"
        code, text = curl("--cacert", str(chain), page)
        check(code == 0 and f"wss://localhost:{server.port}" in text, "the page names wss", text)
        code, text = curl(page)
        check(code == 60, "who does not trust the certificate is not served", code, text)
        for version, wanted in [("1.2", 0), ("1.3", 0), ("1.1", 35)]:
            versions = [f"--tlsv{version}", "--tls-max", version]
            code, text = curl("--cacert", str(chain), *versions, page)
            check(code == wanted, f"TLS {version}: {wanted}", code, text)
        code, text = curl(f"http://localhost:{server.port}/")
        check(code == 0 and "TLS is spoken here" in text, "plain HTTP is told", text)


def the_owner_is_served_over_a_unix_socket(binary, folder):
    path = folder / "admin.sock"
    settings = {"ADMIN__LISTEN": f"unix:{path}", "ADMIN__TOKEN": TOKEN}
    with Server(binary, **settings) as server:
        check(server.admin == f"unix:{path}", "the log tells where", server.admin)
        socket = ["--unix-socket", str(path)]
        code, text = curl(*socket, "-H", f"Authorization: Bearer {TOKEN}", "http://localhost/api/v1/info")
        check(code == 0 and json.loads(text)["version"], "the API answers", text)
        code, text = curl(*socket, "http://evil.example/api/v1/info")
        check(code == 0 and "misdirected" in text, "only by names that are the owner's", text)
        server.terminate()
        check(server.exit_code() == 0, "it ends")
        check(not path.exists(), "the socket goes with it")


def main():
    if len(sys.argv) != 2:
        sys.exit("Usage: listeners.py PATH_OF_THE_BINARY")
    for scene in [
        computers_and_browsers_reach_the_hub_over_tls,
        the_owner_is_served_over_a_unix_socket,
    ]:
        with tempfile.TemporaryDirectory(prefix="skynet-e2e-") as folder:
            scene(sys.argv[1], pathlib.Path(folder))
        print(f"ok      {scene.__name__.replace('_', ' ')}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"FAILED  {failure}")
