"""Writes the first inputs of every target into corpus/: what the suites of tests/ know already.

Run in fuzz/, before `cargo run ... -merge=1` (README.md) makes the corpus small again.
"""

import hashlib
import json
import pathlib
import struct

HERE = pathlib.Path(__file__).parent
REFERENCE = HERE.parent / "tests" / "reference"


def lines(name):
    return [json.loads(line) for line in (REFERENCE / name).read_text().splitlines()]


def keep(target, inputs):
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    for data in inputs:
        data = data if isinstance(data, bytes) else data.encode()
        (folder / hashlib.sha1(data).hexdigest()[:16]).write_bytes(data)


def client_frame(first, payload, mask=b"\x01\x02\x03\x04"):
    length = len(payload)
    if length < 126:
        head = bytes([first, 0x80 | length])
    else:
        head = bytes([first, 0xFE]) + struct.pack(">H", length)
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


def sent(name):
    return [text for case in lines(name) for _, text in case["send"] if isinstance(text, str)]


commands = sent("skynet-v1.jsonl") + [
    '{"type":"open","channel":"x","last":5,"batch":true,"pace":20,"nonce":[1]}',
    '{"type":"open","channel":1e2,"since":"01a209bc-c816-70f8-b351-bb0681c57745"}',
    '{"type":"log","start":-1.5,"end":1e300,"before":"01a209bc-c816-70f8-b351-bb0681c57745"}',
    '{"type":"log","channel":"*","start":null}',
    '{"type":"message","channel":"\\ud800","message":{"a":[1,-0.0,1e400,18446744073709551616]}}',
    '{"type":"message","channel":"x","for":1,"ID":2,"time":3,"a":1,"\\u0061":2}',
    '{"type":"ping","nonce":"n"}',
]
keep("json", [text for text in commands if len(text) < 2000])

head = b"\x82\x67message\xa2\x67channel\x61x\x67message"
values = [case["message"] for case in lines("cbor-cases.jsonl") if "message" in case]
binary = [bytes.fromhex(text) for text in sent("skynet-v2.jsonl") if not text.startswith("t:")]
keep("cbor", [data for data in binary if len(data) < 2000])
keep("cbor", [head + bytes.fromhex(value.replace(" ", "")) for value in values if len(value) < 4000])

text, ping, close = client_frame(0x81, b"hello"), client_frame(0x89, b"?"), client_frame(0x88, b"\x03\xe8bye")
parts = client_frame(0x01, b"He") + ping + client_frame(0x00, b"") + client_frame(0x80, b"llo")
long = client_frame(0x82, bytes(200))
streams = [text, parts, ping + client_frame(0x8A, b"") + close, long + text, client_frame(0x82, bytes(301)),
           client_frame(0x81, b"\xff\xfe"), client_frame(0x88, b""), client_frame(0x88, b"\x03\xed"),
           b"\x81\xfe\x00\x05" + text[2:], b"\x81\xff" + bytes(7) + b"\x05" + text[2:], b"\x81\x05hello",
           b"\xc1" + text[1:], client_frame(0x83, b""), client_frame(0x09, b""), text + parts + long + close]
keep("websocket", [bytes([3, 1, 4, 2]) + stream for stream in streams] + [b"\0" + stream for stream in streams])

keep("channel", ["5", "5.0", "-1e3", '"5"', '"\\u0063hat"', '""', '"\\ud800"', "chat", "05", "*", "a/b", "-",
                 '"open', "", "1e999", "1E+2", "-0", "é", '"*"', "WyJuYW1lIixmYWxzZSwwLCJcImFcIiJd",
                 "WyJpZCIsdHJ1ZSwxLCIyIl0"])

keep("forwarded", [who + text for who in ("\0", "\1", "\2", "\3", "\4") for text in (
    "198.51.100.1", "1.1.1.1, 198.51.100.1:4711,10.9.9.9", "[2001:db8::1]:4711\nfd00::7", "::ffff:198.51.100.1 ,, ")]
     + ["\0unknown, 10.2.2.2", "\0[198.51.100.1]", "\0fe80::1%eth0", "\x0010.3.3.3\n10.2.2.2", "\0[fe80::1%3]:5"])

keep("host", ["hub.example.org", "192.168.1.5:4567", "[::1]:4567", "a_b-c.d.", "https://skynet.example.org:8443",
              "http://[fd00::1]/", "HTTP://A", "a:0", "a:65536", "[::ffff:1.2.3.4]", "1.2.3", "0x7f.1", "é.org",
              "http://a/b", "xn--bcher-kva.example:80"])

requests = ["/connect\nSkynet-Name: a\nUser-Agent: x", "/connect?name=a&id=5&label=l%20m",
            "/connect\nAuthorization: Bearer a-token-of-24-characters",
            "/connect?token=a-token-of-24-characters&name=reactor", "/connect?name=reactor", "/connect?token=b",
            "/connect\nAuthorization: Basic a", "/connect?name=&id=%00", "/connect?name=%F0%9F%98%80",
            "/connect\nSkynet-Name: reactor\nSkynet-Name: b", "/connect?na%6De=%72eactor",
            "/\nHost: a\nUpgrade: WebSocket, x\nConnection: keep-alive, Upgrade\nSec-WebSocket-Version: 13\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSkynet-Computer-Id: 5\nSkynet-Computer-Label: l",
            "/connect\nSkynet-Name: \xff", "/connect?%"]
keep("handshake", requests)

config = (HERE.parent / "config.toml").read_text()
plain = "\n".join(line for line in config.splitlines() if line and not line.startswith("#"))
keep("config", [plain, "", "[hub]\nlisten = '[::]:1'", "hub.listen = 5", "[limits]\nmax_clients = 0",
                "[limits]\nmax_message_bytes = '64 KiB'\nping_interval = '1m 5s'", "[hub", "[nobody]\na=1",
                "[hub]\ntokens = [{name='a', token='b', read=['a*', 5, '1-9']}]", "[guests]\nread = []\nlog = false",
                "[metrics]\nchannels = ['a', 5]\nrequire_token = true", "[telemetry]\nlog = 'skynet=debug'",
                "[hub]\npublic_url = 'https://a:5'\ntrusted_proxies = ['10.0.0.0/8', '::1']",
                "[admin]\ntoken = '0123456789abcdef'\nlisten = '127.0.0.1:4567'", "[message_log]\nmax_bytes = '1GB'"]
     + [section.strip() for section in plain.split("\n[")])

keep("hub", [bytes([0, 0, 7, 0, 0, 0, 2, 7, 1, 15, 3, 2]), bytes([0, 0, 0, 7, 0, 64, 0, 7, 1, 15, 9, 3, 0, 5, 0, 2]),
             bytes([0, 0] + [7, 1, 15, 3] * 12 + [7, 0, 3, 9, 3, 0, 7, 1, 15, 3, 5, 0, 2]),
             bytes([0, 0, 7, 0, 4, 0, 7, 0, 5, 9] + [7, 1, 15, 5] * 20 + [6, 200, 2, 6, 255, 2, 7, 0, 6, 0, 1, 0])])

signature = b"\r\n\r\n\0\r\nQUIT\n"
four, six = b"\xc0\0\2\1\x0a\0\0\1\xdc\x04\1\xbb", bytes(15) + b"\1" + bytes(15) + b"\2\0\1\0\2"
versions = [b"PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\n", b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n",
            b"PROXY TCP6 ::ffff:192.0.2.1 1:2:3:4:5:6:7:8 65535 0\r\n", b"PROXY UNKNOWN\r\n",
            b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n",
            b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n", b"PROXY TCP4 192.0.2.1 10.0.0.1 065 443\r\n",
            b"PROXY TCP4  192.0.2.1 10.0.0.1 1 2\r\n", b"PROXY TCP6 1::2::3 ::1 1 2\r\n", b"PROXY \r\nabcdef\r\n",
            signature + b"\x21\x11\0\x0c" + four, signature + b"\x21\x21\0\x24" + six,
            signature + b"\x21\x11\0\x10" + four + b"\4\0\1\0", signature + b"\x20\0\0\0",
            signature + b"\x21\0\0\0", signature + b"\x21\x31\0\0", signature + b"\x21\x11\0\x0b" + four,
            signature + b"\x21\x12\0\x0c" + four, signature + b"\x20\0\x08\1"]
keep("proxy_header", [bytes([3, 1, 5, 9]) + header + b"GET / HTTP/1.1\r\n" for header in versions]
     + [b"\0" + header for header in versions])

bans = [{"id": 1, "target": {"name": "a\n"}, "reason": "r", "created_at_ms": 5, "expires_at_ms": None},
        {"id": 7, "target": {"token": "t"}, "reason": "", "created_at_ms": 0, "expires_at_ms": 2**60},
        {"id": 3, "target": {"network": "192.0.2.0/24"}, "reason": "\u20ac", "created_at_ms": 1, "expires_at_ms": 9},
        {"id": 4, "target": {"network": "2001:db8::/32"}, "reason": "r", "created_at_ms": 1}]
keep("bans_file", [json.dumps(bans), json.dumps(bans, indent=2), "[]", "", "[{}]", "{}", "[[1,{\"name\":\"a\"},\"r\",5,null]]",
                   "[\n1]"] + [json.dumps([one]) for one in bans]
     + [json.dumps([bans[2] | change]) for change in (
         {"id": -1}, {"id": 2**53}, {"id": "1"}, {"target": {"network": "192.0.2.7/24"}}, {"target": {"name": "a", "token": "b"}},
         {"target": {"network": "::ffff:192.0.2.0/120"}}, {"target": {"network": "192.0.2.7"}}, {"more": [1]}, {"target": "name"})])

keep("query", ["log", "log?limit=2", "log?order=asc&limit=3", "log?channel=x&channel=5&limit=1", "log?channel=%225%22",
               "log?q=HELLO", "log?q=%22b%5C%22", "log?q=%01", "log?start=-3&end=-1", "log?start=2&end=4&order=asc", "log?before=!5",
               "log?after=!5&order=asc", "log?since=!3&until=!7", "log?since=$3&until=$7", "log?since=2026-01-31T12:00:00Z",
               "log?limit=0", "log?limit=1001", "log?start=x", "log/!4", "log/x", "channels", "channels?sort=listeners&order=desc",
               "channels?prefix=x", "channels?q=Y&min_listeners=1&limit=2", "channels/x", "channels/5", "channels/%225%22",
               "channels/x/listeners?limit=1", "channels/%2A/listeners", "clients", "clients?address=10.0.0.0/8", "clients?name=a",
               "clients?channel=x&sort=messages_in&order=desc", "clients?state=closed", "clients?name=b+c", "clients/1", "clients/0",
               "bans", "info", "stats", "config", "clients?cursor=WyJjb25uZWN0ZWRfYXQiLGZhbHNlLDAsIjEiXQ", "log?channel=" * 17,
               "channels?cursor=WyJuYW1lIixmYWxzZSwwLCJcInhcIiJd", "nothing", "clients/kick", "log?limit=5&limit=1", "bans/1"])

a_ban = [{"name": "a"}, {"token": "a", "reason": "r"}, {"address": "10.0.0.0/8", "duration": "10m"}, {"address": "2001:db8::1"},
         {"address": "::ffff:10.0.0.0/104"}, {"name": "b c", "expires_at": "2999-01-31T12:00:00.5Z"}, {"name": ""}, {},
         {"name": "a", "token": "a"}, {"name": "x" * 65}, {"name": "a", "reason": "x" * 124}, {"name": "a", "nam": "b"},
         {"name": "a", "duration": "0s"}, {"name": "a", "duration": "1h 5m", "expires_at": "2999-01-31T12:00:00Z"},
         {"name": "a", "expires_at": "2000-01-31T12:00:00Z"}, {"address": "everybody"}, {"name": 5}, {"name": None}]
a_kick = [{"channel": "x"}, {"channel": 5.0, "dry_run": True}, {"channel": "5"}, {"all": True, "reason": "r"}, {"all": False},
          {"address": "10.0.0.1"}, {"address": "0.0.0.0/0"}, {"address": "::/0"}, {"name": "a"}, {"name": "a", "all": True},
          {"channel": [1]}, {"channel": "*"}, {"name": "b c", "dry_run": 1}]
a_message = [{"channel": "x", "message": "m"}, {"channel": 5, "k": [1.5, None]}, {"channel": -0.0}, {"channel": "5"}, {"message": 1},
             {"channel": "*", "type": "open", "ID": 1, "time": 2}, {"channel": "x" * 256}, {"channel": True}]
keep("body", [bytes([what]) + json.dumps(one).encode() for what, all_of in enumerate((a_ban, a_kick, a_message))
              for one in all_of] + [b"\0[]", b"\1", b"\2{", b"\0{\"name\":\"\\ud800\"}", b"\0\xff"])
