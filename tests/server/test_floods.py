"""Whoever attacks one server is bounded in what it costs: memory, and the time of others.

Method: a neighbour asks for something small, over and over, in a process of its own. Rounds without an
attack and rounds with one take turns, so that whatever else the machine does falls on both. What counts
is the neighbour's 99th percentile in the attacked rounds against that in the quiet ones. A machine that
is busy by itself gets more rounds before this is believed. The bounds of single frames are claimed in
tests/unit/http/test_floods.c; this is the whole server, with real sockets."""

import os
import resource
import subprocess
import sys
import time
import http.client

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "cli"))
from harness import HANGS, Stele, main  # noqa: E402

from attack import ANSWERS_MIN, KINDS  # noqa: E402
from server import SANITIZED, Server, certificate  # noqa: E402

MIB = 1024
# What an attack may make the server grow by, in KiB. 16 MiB where nothing else is said: connections
# that are there cost something, and requests that are not whole are what user-memory allows.
# A read that is open keeps some 60 KiB of what it has decoded, and 3,000 are.
GROWTH = {"idle connections": 96 * MIB, "stalled readers": 300 * MIB, "stalled calls": 300 * MIB,
          "half messages": 80 * MIB, "slow handshake": 32 * MIB}
ROUNDS, SECONDS = 3, 0.3
TIMES = float(os.environ.get("STELE_FLOOD_TIMES", "2"))
NOISE_US = 4000  # Below this a scheduler decides.
# One message is unzipped without asking whether others wait; 60 MiB are taken in; 3,000 calls that begin,
# or end because their clients go, take their time.
BURST_US = {"gzip bomb": 20000, "half messages": 20000, "stalled readers": 40000, "stalled calls": 40000}


class Process:
    def __init__(self, kind, port, ca):
        self.process = subprocess.Popen(
            [sys.executable, "-B", os.path.join(HERE, "attack.py"), kind, str(port), ca],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"

    def go(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def stop(self):
        self.process.stdin.write("stop\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "it ended"
        return [int(number) for number in line.split()]

    def end(self):
        self.process.stdin.close()
        self.process.wait(HANGS)
        self.process.stdout.close()


def p99(times):
    times = sorted(times)
    return times[len(times) * 99 // 100]


def measure(server, neighbour, attacker):
    """(quiet, attacked, peak of memory): times of the neighbour in both kinds of rounds."""
    quiet, attacked, memory = [], [], 0
    for _ in range(ROUNDS):
        neighbour.go()
        time.sleep(SECONDS)
        quiet += neighbour.stop()
        attacker.go()
        neighbour.go()
        time.sleep(SECONDS)
        attacked += neighbour.stop()
        memory = max(memory, server.status("VmRSS"))
        attacker.stop()
    return quiet, attacked, memory


def fill(port):
    """A stream that is worth reading."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HANGS)
    for _ in range(8):
        connection.request("POST", "/api/streams/large",
                           '[' + ",".join(['{"type": "t", "data": "' + "x" * 10000 + '"}'] * 50) + ']',
                           {"Content-Type": "application/json"})
        response = connection.getresponse()
        response.read()
        assert response.status // 100 == 2, response.status
    connection.close()


def claim(name, server, ca):
    neighbour, attacker = Process("neighbour", server.port, ca), Process(name, server.port, ca)
    before = server.status("VmRSS")
    for _ in range(20):
        quiet, attacked, memory = measure(server, neighbour, attacker)
        slow = p99(attacked) > max(TIMES * p99(quiet), BURST_US.get(name, NOISE_US))
        if not slow:
            break
    attacker.end()
    neighbour.end()
    grown = memory - before
    print(f"# {name:17} quiet p99 {p99(quiet):5} us, attacked {p99(attacked):5} us "
          f"({p99(attacked) / p99(quiet):4.1f} times), grown by {grown / MIB:5.1f} MiB")
    assert len(attacked) > ANSWERS_MIN * ROUNDS, f"the neighbour was answered {len(attacked)} times"
    assert not slow or SANITIZED, f"{name}: {p99(attacked)} us instead of {p99(quiet)} us"
    assert SANITIZED or grown <= GROWTH.get(name, 16 * MIB), f"{name}: grown by {grown} KiB"


def more_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8192)), hard))


def test_attacks(s: Stele):
    """attacks cost little memory, and a neighbour is answered as before"""
    more_files()
    for name in KINDS:
        if name == "slow handshake":
            continue
        # Each on a fresh server: what one leaves behind is not the next one's.
        with Server(s, "--insecure", "--user-memory", "64MiB", "--output-memory", "32MiB", "--store",
                    f"store-{name.replace(' ', '-')}") as server:
            if name in ("stalled readers", "stalled calls"):
                fill(server.port)
            server.get()
            claim(name, server, "-")
            server.stop()


def test_attacks_on_tls(s: Stele):
    """the same behind TLS, where handshakes may be slow as well"""
    more_files()
    certificate(s, "server", "localhost")
    with Server(s, "--insecure", "--tls-certificate", "server.pem", "--tls-key",
                "server.key") as server:
        for name in ("slow handshake", "rapid reset"):
            claim(name, server, s.path("server.pem"))
        server.stop()


if __name__ == "__main__":
    main(sys.modules[__name__])
