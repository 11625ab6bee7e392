"""The computers of a game server, all in one thread: they come, open channels, talk, listen and go.

How many there are and how much they talk may change with time. Who is thrown out comes back after a
moment, as the programs in the game do. What they say is drawn from a seed: two runs differ in nothing
but time.
"""

import asyncio
import json
import random
import threading

import websockets
from websockets.asyncio.client import connect

from stage import DEADLINE_S, Failure

CHANNELS = ["chat", "doors", 5, "reactor", "storage", "farm/wheat", "trains", "lamps (hall)"]
# Most of what computers say is short; now and then one sends a map.
SIZES = [20] * 12 + [120] * 6 + [900] * 3 + [7_000, 60_000]
LOOK_S = 0.2


class Crowd:
    """Computers from `__enter__`, where the first have come, to `__exit__`.

    `size(t)` of them, each saying `pace(t)` messages a second, `t` seconds after the start.
    """

    def __init__(self, server, size, pace, seed=4):
        self._address = f"ws://{server.host}:{server.port}/connect"
        self._size, self._pace = size, pace
        self._random = random.Random(seed)
        self._came = threading.Semaphore(0)
        self._problems = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._live(),))
        self._over = asyncio.Event()

    def __enter__(self):
        self._thread.start()
        for _ in range(self._size(0)):
            if not self._came.acquire(timeout=DEADLINE_S):
                self._end()
                raise Failure(f"computers do not get in: {self._problems}")
        return self

    def __exit__(self, *_):
        self._end()
        if self._problems:
            raise Failure(f"computers came to grief: {self._problems[:3]}")

    def _end(self):
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(DEADLINE_S)
        self._loop.close()

    def _now(self):
        return self._loop.time() - self._start

    async def _live(self):
        self._start = self._loop.time()
        computers, number = [], 0
        while not self._over.is_set():
            wanted = self._size(self._now())
            while len(computers) < wanted:
                computers.append(asyncio.create_task(self._computer(number)))
                number += 1
            gone = [computers.pop(0) for _ in range(len(computers) - wanted)]
            await self._stop(gone)
            await self._pause(LOOK_S)
        await self._stop(computers)

    async def _stop(self, tasks):
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _pause(self, seconds):
        try:
            await asyncio.wait_for(self._over.wait(), seconds)
        except TimeoutError:
            pass

    async def _computer(self, number):
        headers = {"Skynet-Computer-Id": str(number), "Skynet-Name": f"computer-{number}"}
        while not self._over.is_set():
            try:
                async with connect(
                    self._address, additional_headers=headers, compression=None
                ) as socket:
                    await self._open(socket, number)
                    self._came.release()
                    await asyncio.gather(self._talk(socket, number), self._listen(socket))
            except (OSError, websockets.WebSocketException):
                # Thrown out, or the hub is away: it comes back.
                pass
            except Exception as problem:  # Told by the thread that waits for this one.
                self._problems.append(f"computer {number}: {problem!r}")
                return
            await self._pause(0.5 + self._random.random())

    async def _open(self, socket, number):
        # Everybody hears the chat; the other channels have a few listeners each.
        for channel in {CHANNELS[number % len(CHANNELS)], "chat"}:
            await socket.send(json.dumps({"type": "open", "channel": channel}))

    async def _talk(self, socket, number):
        while True:
            await self._pause(self._random.expovariate(max(self._pace(self._now()), 0.01)))
            channel = self._random.choice([CHANNELS[number % len(CHANNELS)]] * 5 + ["chat"])
            text = "x" * self._random.choice(SIZES)
            message = {"type": "message", "channel": channel, "message": text, "from": number}
            await socket.send(json.dumps(message))
            if self._random.random() < 0.05:
                await socket.send(json.dumps({"type": "log", "end": 5}))

    async def _listen(self, socket):
        async for _ in socket:
            pass
