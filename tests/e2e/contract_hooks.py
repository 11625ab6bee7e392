"""What schemathesis is told beside the command line of contract.py, which loads this file.

Streams are bounded, since otherwise each would last to the timeout. Every answer is written down, so that
contract.py can tell which operations never succeeded.
"""

import json
import os
import threading

import schemathesis

STREAM = "/log/stream"
STREAM_S = 1
_writing = threading.Lock()


@schemathesis.hook
def before_call(context, case, kwargs):
    """Ends a stream after a second, unless its bound is what is wrong with the request."""
    if not case.path.endswith(STREAM) or case.method != "GET":
        return
    case.query = case.query or {}
    asked = case.query.get("max_seconds", STREAM_S)
    if isinstance(asked, (int, float)) and asked >= STREAM_S:
        case.query["max_seconds"] = STREAM_S


@schemathesis.hook
def after_call(context, case, response):
    line = json.dumps([case.operation.label, response.status_code])
    with _writing, open(os.environ["CONTRACT_ANSWERS"], "a", encoding="utf-8") as answers:
        answers.write(line + "\n")
