"""A client of the hub under Python with the package `websockets`.

What it is told to do and what it tells comes and goes as JSON lines on a TCP connection to run.py,
where the lines are described.

Usage: client.py CONTROL_PORT NAME
"""

import asyncio
import json
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed


async def main(port: int, name: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)

    def tell(value: dict) -> None:
        writer.write(json.dumps(value).encode() + b"\n")

    async def listen(websocket) -> None:
        try:
            while True:
                frame = await websocket.recv()
                if isinstance(frame, str):
                    tell({"told": "frame", "value": json.loads(frame)})
                else:
                    tell({"told": "a binary frame to a client of v1"})
        except ConnectionClosed:
            tell({"told": "closed", "code": websocket.close_code, "reason": websocket.close_reason})

    tell({"told": "ready", "name": name})
    websocket = None
    listening = None
    while line := await reader.readline():
        order = json.loads(line)
        if order["do"] == "connect":
            websocket = await connect(f"ws://{order['host']}:{order['port']}/connect")
            extensions = websocket.response.headers.get("Sec-WebSocket-Extensions", "")
            tell({"told": "connected", "extensions": extensions})
            listening = asyncio.create_task(listen(websocket))
        elif order["do"] == "send":
            await websocket.send(json.dumps(order["command"]))
        else:
            raise ValueError(f"no such order: {order['do']}")
    if listening is not None:
        listening.cancel()


asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
