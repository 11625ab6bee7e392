"""The scenes of the comparison, and the targets that are read from their figures.

A scene is a command line of the generator. `skynet` are settings that Skynet needs for it, beyond those
it has in every run; `only` is for scenes that others have no part in.
"""

import dataclasses

# What the quick form makes of large numbers.
QUICK_MOST = {"--connections": 300, "--crowd": 300, "--fill": 500, "--listeners": 200, "--stalled": 10}


@dataclasses.dataclass(frozen=True)
class Scene:
    name: str
    title: str
    arguments: str
    group: str
    quick: bool = False
    # Skynet and what is like it only.
    only: bool = False
    skynet: dict = dataclasses.field(default_factory=dict)
    # Times the seconds of the others.
    longer: float = 1

    def command(self, seconds, warmup, quick):
        """The generator's arguments."""
        words = self.arguments.split()
        if quick:
            for at, word in enumerate(words):
                if word in QUICK_MOST:
                    words[at + 1] = str(min(int(words[at + 1]), QUICK_MOST[word]))
        if self.group in ("closed", "paced", "log"):
            words += ["--duration", str(seconds * self.longer), "--warmup", str(warmup)]
        if self.group == "held":
            words += ["--rest", str(seconds)]
        return words


def _fan_out():
    for listeners in (1, 10, 100, 1000):
        # As many deliveries a second as with a hundred listeners.
        rate = 100 if listeners == 1000 else 1000
        all_of_them = f"{listeners} listener" + "s" * (listeners > 1)
        fan = f"fanout --listeners {listeners}"
        quick = listeners == 100
        yield Scene(f"closed-{listeners}", f"{all_of_them}, closed loop", fan, "closed", quick)
        yield Scene(f"paced-{listeners}", f"{all_of_them}, {rate}/s", f"{fan} --rate {rate}", "paced", quick)
        bursts = f"{fan} --rate {rate} --burst 20"
        yield Scene(f"bursts-{listeners}", f"{all_of_them}, {rate}/s in bursts of 20", bursts, "paced", quick)


CROWD = {"LIMITS__MAX_CLIENTS": "15000"}

SCENES = [
    *sorted(_fan_out(), key=lambda scene: ("closed", "paced", "bursts").index(scene.name.split("-")[0])),
    Scene("text-1k", "100 listeners, text of 1 KiB, closed loop", "fanout --size 1024", "closed"),
    Scene("text-15k", "100 listeners, text of 15,000 B, closed loop", "fanout --size 15000", "closed", True),
    Scene(
        "many",
        "200 channels × 5 listeners, 10,000/s",
        "many --channels 200 --listeners 5 --rate 10000",
        "paced",
        True,
    ),
    Scene(
        "everyone",
        "50 clients, each publishes and listens, 1000/s",
        "everyone --publishers 50 --rate 1000",
        "paced",
        True,
    ),
    Scene(
        "wildcard",
        "10 channels, 100 listeners of all, 1000/s",
        "wildcard --channels 10 --listeners 100 --rate 1000",
        "paced",
        True,
    ),
    Scene(
        "fast",
        "900 listeners, text of 4 KiB, 50/s",
        "fanout --listeners 900 --size 4096 --rate 50",
        "paced",
        longer=3,
    ),
    Scene(
        "fast-stalled",
        "900 listeners, text of 4 KiB, 50/s, and 100 more that never read",
        "fanout --listeners 900 --stalled 100 --size 4096 --rate 50",
        "paced",
        True,
        longer=3,
    ),
    Scene(
        "idle",
        "10,000 connections, then 20 messages from one to all others",
        "idle --connections 10000 --traffic 20",
        "held",
        True,
    ),
    Scene("alone", "nobody connected", "idle --connections 0", "held"),
    Scene(
        "connect",
        "5,000 connections with one open each, 64 at a time",
        "connect --connections 5000 --open",
        "connect",
        True,
    ),
    Scene(
        "log",
        "logs of 100, 10 listeners, 1000/s; 10,000 kept, as shipped",
        "log --listeners 10 --fill 10000",
        "log",
        True,
        only=True,
    ),
    Scene(
        "log-of-100",
        "logs of 100, 10 listeners, 1000/s; 100 messages kept",
        "log --listeners 10 --fill 200",
        "log",
        only=True,
        skynet={"MESSAGE_LOG__MAX_MESSAGES": "100"},
    ),
    Scene(
        "log-of-100000",
        "logs of 100, 10 listeners, 1000/s; 100,000 kept",
        "log --listeners 10 --fill 100100",
        "log",
        only=True,
        skynet={"MESSAGE_LOG__MAX_MESSAGES": "100000"},
    ),
    Scene(
        "first-client",
        "500 connections with an open each, to an empty hub",
        "connect --connections 500 --open",
        "connect",
        only=True,
        skynet=CROWD,
    ),
    Scene(
        "crowd-client",
        "500 connections with an open each, after 10,000 clients with a channel each",
        "connect --connections 500 --open --crowd 10000",
        "connect",
        only=True,
        skynet=CROWD,
    ),
    Scene(
        "first-channel",
        "100 listeners, 1000/s, nobody else",
        "fanout --rate 1000",
        "paced",
        only=True,
        skynet=CROWD,
    ),
    Scene(
        "crowd-channel",
        "100 listeners, 1000/s, beside 10,000 clients with a channel each",
        "fanout --rate 1000 --crowd 10000",
        "paced",
        True,
        only=True,
        skynet=CROWD,
    ),
]


# One setting of Skynet other than as shipped, played by itself where it shows what it gives and costs: its
# name, the setting, the scenes.
SETTINGS = {
    "pace2": ({"DELIVERY__INTERVAL": "2ms"}, ("paced-100",)),
    "no-uring": ({"DELIVERY__IO_URING": "off"}, ("closed-100", "paced-100", "many")),
}


@dataclasses.dataclass(frozen=True)
class Target:
    """A bound on a figure of one server, or on its ratio to the same figure of another.

    Ratios are taken inside each round, where both ran one after the other, and their median counts.
    """

    text: str
    # Where the figure is in a run's report, and in which scene.
    figure: str
    scene: str
    server: str = "skynet"
    beside: str | None = None
    beside_scene: str | None = None
    must: float | None = None
    aim: float | None = None


CPU, P99 = "us_per_delivery", "delay_us.p99"

TARGETS = [
    Target("100,000 deliveries a second, CPU", CPU, "paced-100", beside="floor-each", must=1.05, aim=0.90),
    Target("100,000 deliveries a second, CPU", CPU, "paced-100", beside="uws", must=1.05, aim=0.90),
    Target("100,000 deliveries a second, p99", P99, "paced-100", beside="uws", must=1.2, aim=1.0),
    Target(
        "100,000 deliveries a second with 2 ms of pacing, CPU",
        CPU,
        "paced-100",
        server="pace2",
        beside="floor-each",
        aim=0.40,
    ),
    Target(
        "100,000 deliveries a second, p99.9, µs: never a tail of 40 ms",
        "delay_us.p999",
        "paced-100",
        must=40_000,
    ),
    Target(
        "closed loop, 100 listeners, CPU", CPU, "closed-100", beside="floor-coalesce", must=1.25, aim=1.05
    ),
    Target("closed loop, 100 listeners, CPU", CPU, "closed-100", beside="uws", aim=1.0),
    Target("text of 1 KiB, CPU", CPU, "text-1k", beside="uws", must=1.0),
    Target("text of 1 KiB, CPU", CPU, "text-1k", beside="floor-coalesce", aim=1.15),
    Target("text of 15,000 B, CPU", CPU, "text-15k", beside="uws", must=1.0),
    Target("text of 15,000 B, CPU", CPU, "text-15k", beside="floor-coalesce", aim=1.15),
    Target("200 channels × 5, CPU", CPU, "many", beside="floor-each", must=1.05, aim=0.97),
    Target(
        "100 listeners that never read: p99 of the others",
        P99,
        "fast-stalled",
        beside="skynet",
        beside_scene="fast",
        must=1.2,
    ),
    Target("resident memory of an idle client, KiB", "rss_per_connection_kib", "idle", must=3.5, aim=1.5),
    Target(
        "resident memory of an idle client after traffic, KiB",
        "rss_per_connection_after_kib",
        "idle",
        aim=2.0,
    ),
    Target("a connection with an open, µs", "us_per_connection", "connect", must=50, aim=40),
    Target("a log of 100, µs", "us_per_log", "log", must=22, aim=18),
    Target(
        "a log of 100: of 100,000 kept, beside of 100",
        "us_per_log",
        "log-of-100000",
        beside="skynet",
        beside_scene="log-of-100",
        must=1.1,
    ),
    Target(
        "a delivery: of 100,000 kept, beside of 100",
        "us_per_delivery_before",
        "log-of-100000",
        beside="skynet",
        beside_scene="log-of-100",
        must=1.1,
    ),
    Target(
        "the 10,001st client beside the first, CPU",
        "us_per_connection",
        "crowd-client",
        beside="skynet",
        beside_scene="first-client",
        must=1.1,
    ),
    Target(
        "the 10,001st channel beside the first, CPU",
        CPU,
        "crowd-channel",
        beside="skynet",
        beside_scene="first-channel",
        must=1.1,
    ),
    Target("from the start to serving, ms", "start_ms", "alone", must=20),
    Target("CPU while nobody is connected, share of one core", "idle_cpu_share", "alone", must=0.001),
]
