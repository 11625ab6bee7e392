"""What schemathesis is told beside the command line of contract.py, which loads this file.

Streams are bounded, since otherwise each would last to the timeout. Where an ID is asked for, every other
request that is right gets one that there is. Every answer is written down, so that
contract.py can tell which operations never succeeded. Rules that a document of OpenAPI 3.0 cannot hold are
listed here, each with the answer that it is given: where the document says that a request is right, only they
may refuse it.
"""

import itertools
import json
import os
import threading
import time
import urllib.error
import urllib.request

import schemathesis
from schemathesis.openapi.checks import RejectedPositiveData

from stage import DEADLINE_S

STREAM_S = 1
# The operation, and the field that is refused with 400.
BEYOND_THE_DOCUMENT = {
    # A cursor is what an answer gave.
    ("GET /channels", "cursor"),
    ("GET /channels/{channel}/listeners", "cursor"),
    ("GET /clients", "cursor"),
    # Which channels a client had open is not kept when it goes.
    ("GET /clients", "channel"),
    # Of two parameters, exactly one.
    ("DELETE /log", "channel"),
    # Networks, durations and filters of the log have rules that no pattern holds.
    ("GET /clients", "address"),
    ("POST /clients/kick", "address"),
    ("POST /bans", "address"),
    ("POST /bans", "duration"),
    ("DELETE /clients/{id}", "ban"),
    ("PUT /log-level", "log"),
    # A moment is a time or the ID of a message.
    ("GET /log", "since"),
    ("GET /log", "until"),
    # A ban ends in the future, and by one of two fields.
    ("POST /bans", "expires_at"),
}
# An Idempotency-Key belongs to one body.
KEY_REUSED = ("POST /messages", 422)
_writing = threading.Lock()


@schemathesis.hook
def before_call(context, case, kwargs):
    operation = case.operation.label
    if operation == "GET /log/stream":
        bound(case)
    elif operation in AIMED and is_right(case) and next(_counts[operation]) % 2:
        case.path_parameters = AIMED[operation]()


def bound(case):
    """Ends a stream after a second, unless its bound is what is wrong with the request."""
    case.query = case.query or {}
    asked = case.query.get("max_seconds", STREAM_S)
    if isinstance(asked, (int, float)) and asked >= STREAM_S:
        case.query["max_seconds"] = STREAM_S


def a_client_and_its_channel():
    """Of those that are here now; whoever was thrown out comes back."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        for client in ask("/clients")["clients"]:
            for channel in (ask(f"/clients/{client['id']}") or {}).get("open", []):
                # Spelled as JSON: the number 5 and the text "5" are two.
                return {"id": client["id"], "channel": json.dumps(channel)}
    raise RuntimeError("no client with an open channel is here")


def a_client():
    return {"id": a_client_and_its_channel()["id"]}


def a_message():
    return {"id": ask("/messages", {"channel": "chat", "message": "to be met"})["message"]["ID"]}


def a_ban():
    return {"id": ask("/bans", {"name": "somebody who is not here"})["ban"]["id"]}


def ask(path, body=None):
    """Asks the API; None for what is not there."""
    request = urllib.request.Request(
        f"{os.environ['CONTRACT_API']}{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "Authorization": f"Bearer {os.environ['CONTRACT_TOKEN']}",
            "Content-Type": "application/json",
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise


# Operations whose parameters mean something only by luck.
AIMED = {
    "DELETE /clients/{id}/channels/{channel}": a_client_and_its_channel,
    "GET /clients/{id}": a_client,
    "DELETE /clients/{id}": a_client,
    "GET /log/{id}": a_message,
    "DELETE /log/{id}": a_message,
    "DELETE /bans/{id}": a_ban,
}
_counts = {operation: itertools.count() for operation in AIMED}


def is_right(case):
    return case.meta is None or case.meta.generation.mode.is_positive


@schemathesis.hook
def after_call(context, case, response):
    line = json.dumps([case.operation.label, response.status_code])
    with _writing, open(os.environ["CONTRACT_ANSWERS"], "a", encoding="utf-8") as answers:
        answers.write(line + "\n")


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Whether it is one: a rule beyond the document may refuse what the document allows."""
    if not isinstance(failure, RejectedPositiveData):
        return True
    operation, status = case.operation.label, response.status_code
    if status != 400:
        return (operation, status) != KEY_REUSED
    problem = json.loads(response.content)
    fields = [error["field"] for error in problem.get("errors", [])]
    return not fields or any((operation, field) not in BEYOND_THE_DOCUMENT for field in fields)
