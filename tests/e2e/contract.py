"""The contract test: does the owner's API do what its OpenAPI document says?

Starts the release binary with some life in it and lets schemathesis call every operation with valid
and invalid input that it makes up from `/openapi.json`. All its checks are on: an answer of 5xx, a
status or a media type that the document does not name, a body that does not fit its schema, wrong
input that is accepted or right input that is refused, an operation that works without the token, and
the like fail the test. So does an operation that never once succeeded: nothing was tested then.

Usage: contract.py PATH_OF_THE_BINARY [SECONDS_AT_MOST]
"""

import collections
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

sys.dont_write_bytecode = True

from life import Life  # noqa: E402
from stage import DEADLINE_S, Failure, Server  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
TOKEN = "the-token-of-the-owner-in-the-contract-test"
METHODS = {"get", "put", "post", "delete", "patch"}
SEED = 20_260_101
EXAMPLES = 25


def document(server):
    url = f"http://{server.admin}/openapi.json"
    with urllib.request.urlopen(url, timeout=DEADLINE_S) as response:
        return json.load(response)


def schemathesis(server, folder, answers, seconds):
    command = [
        str(pathlib.Path(sys.executable).with_name("schemathesis")),
        "--config-file",
        str(HERE / "contract.toml"),
        "run",
        f"http://{server.admin}/openapi.json",
        f"--header=Authorization: Bearer {TOKEN}",
        f"--seed={SEED}",
        f"--max-examples={EXAMPLES}",
    ]
    environment = os.environ | {
        "SCHEMATHESIS_HOOKS": "contract_hooks",
        "PYTHONPATH": str(HERE),
        "CONTRACT_ANSWERS": str(answers),
        "CONTRACT_API": f"http://{server.admin}/api/v1",
        "CONTRACT_TOKEN": TOKEN,
    }
    try:
        return subprocess.run(
            command, cwd=folder, env=environment, timeout=seconds, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        raise Failure(f"schemathesis still runs after {seconds} s") from None


def never_succeeded(operations, answers):
    """Prints the answers of each operation; returns those that had no answer of 2xx."""
    seen = collections.defaultdict(collections.Counter)
    for line in answers.read_text().splitlines():
        operation, status = json.loads(line)
        seen[operation][status] += 1
    print(f"{'operation':<48} answers")
    for operation in operations:
        counts = ", ".join(f"{status}: {n}" for status, n in sorted(seen[operation].items()))
        print(f"{operation:<48} {counts or 'none'}")
    return [o for o in operations if not any(200 <= status < 300 for status in seen[o])]


def main():
    if len(sys.argv) not in (2, 3) or not pathlib.Path(sys.argv[1]).is_file():
        sys.exit("Usage: contract.py PATH_OF_THE_BINARY [SECONDS_AT_MOST]")
    seconds = float(sys.argv[2]) if len(sys.argv) == 3 else 240
    settings = {"ADMIN__TOKEN": TOKEN, "ADMIN__BANS_FILE": "bans.json"}
    with tempfile.TemporaryDirectory(prefix="skynet-contract-") as folder:
        answers = pathlib.Path(folder) / "answers"
        with Server(sys.argv[1], **settings) as server:
            operations = [
                f"{method.upper()} {path}"
                for path, item in document(server)["paths"].items()
                for method in item.keys() & METHODS
            ]
            with Life(server, TOKEN):
                code = schemathesis(server, folder, answers, seconds)
            if server.process.poll() is not None:
                raise Failure("the server has ended")
            server.terminate()
            if server.exit_code() != 0:
                raise Failure("the server did not end with 0")
            panicked = [line for line in server.log.finished() if "panicked" in line]
            if panicked:
                raise Failure(f"the server panicked: {panicked[0]}")
        never = never_succeeded(operations, answers)
        if code != 0:
            raise Failure(f"schemathesis found what is told above (exit code {code})")
        if never:
            raise Failure("never succeeded, so little was tested: " + ", ".join(never))


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"FAILED  {failure}")
    print("contract: the API does what its document says")
