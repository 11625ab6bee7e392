"""A hub on uWebSockets, which the PyPI package `socketify` carries: `python uws.py PORT`.

Subscribing, and sending to all subscribers, is uWebSockets' own, in C++; Python sees each message
once. It speaks what the load generator needs of Skynet's protocol, finds the channel's name without
reading the rest, and has no log, no limits and no errors. Who listens hears itself, too: that is how
socketify publishes.
"""

import sys
import time

from socketify import App, AppListenOptions, CompressOptions, OpCode

EVERYTHING = "*"
KEY = '"channel":"'
MESSAGE = '{"type":"message"'

app = App()
messages = 0
somebody_hears_everything = False


def received(socket, text, _opcode):
    global messages, somebody_hears_everything
    start = text.index(KEY) + len(KEY)
    channel = text[start : text.index('"', start)]
    if text.startswith('{"type":"open"'):
        socket.subscribe(channel)
        somebody_hears_everything |= channel == EVERYTHING
        socket.send('{"type":"result","for":"open","channels":[]}', OpCode.TEXT)
        return
    messages += 1
    rest = f'{text[len(MESSAGE):-1]},"ID":"{messages:032x}","time":{int(time.time() * 1000)}}}'
    event = MESSAGE + rest
    app.publish(channel, event, OpCode.TEXT)
    if somebody_hears_everything and channel != EVERYTHING:
        app.publish(EVERYTHING, event, OpCode.TEXT)
    socket.send('{"type":"result","for":"message"' + rest, OpCode.TEXT)


app.ws(
    "/*",
    {
        "compression": CompressOptions.DISABLED,
        "max_payload_length": 1 << 20,
        # 64 KiB by default, beyond which messages are dropped.
        "max_backpressure": 64 << 20,
        "idle_timeout": 960,
        "message": received,
    },
)


def listening(_config):
    pass


app.listen(AppListenOptions(port=int(sys.argv[1]), host="127.0.0.1"), listening)
# app.run() would look at the sockets again and again without waiting, between turns of asyncio, which
# nothing here needs: the loop alone waits in the kernel.
app.loop.uv_loop.run()
