"""The bad network of the cluster's tests: what it does to whom, and to nobody else.

Nodes are threads here that answer every byte they get."""

import os
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))

from harness import HANGS, main, same, wait_until
from relay import Relay

MANY = b"x" * 100_000


class Echo:
    """A node that sends back what it gets."""

    def __init__(self):
        code = ("import asyncio\n"
                "async def echo(reader, writer):\n"
                "    while data := await reader.read(65536):\n"
                "        writer.write(data)\n"
                "    writer.close()\n"
                "async def run():\n"
                "    server = await asyncio.start_server(echo, '127.0.0.1', 0)\n"
                "    print(server.sockets[0].getsockname()[1], flush=True)\n"
                "    await server.serve_forever()\n"
                "asyncio.run(run())\n")
        self.process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        self.port = int(self.process.stdout.readline())

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Network:
    def __enter__(self):
        self.echoes = {number: Echo() for number in (1, 2)}
        self.relay = Relay()
        self.ports = {n: self.relay.node(n, echo.port) for n, echo in self.echoes.items()}
        return self

    def __exit__(self, *_):
        self.relay.close()
        for echo in self.echoes.values():
            echo.close()

    def dial(self, source, to):
        """As node `source` would: with its hello."""
        connection = socket.create_connection(("127.0.0.1", self.ports[to]))
        hello = b"SPF1" + b"\1" * 40 + source.to_bytes(8, "little")
        connection.sendall(hello)
        connection.settimeout(HANGS)
        return connection, len(hello)


def receive(connection, size):
    got = 0
    while got < size:
        data = connection.recv(65536)
        assert data, "the connection has ended"
        got += len(data)


def times(something, at_most):
    """How long something takes; again, a few times, if it took too long: whose fault that was only repeating tells."""
    for _ in range(20):
        begin = time.monotonic()
        something()
        took = time.monotonic() - begin
        if took < at_most:
            break
    return took


def is_silent(connection, seconds=0.3):
    connection.settimeout(seconds)
    try:
        return connection.recv(1) is None
    except TimeoutError:
        return True
    finally:
        connection.settimeout(HANGS)


def test_carries(_):
    """what one sends the other gets, and the end"""
    with Network() as network:
        connection, size = network.dial(1, 2)
        receive(connection, size)
        for _ in range(20):
            connection.sendall(MANY)
            receive(connection, len(MANY))
        same(network.relay.status()[1, 2], (1, size + 20 * len(MANY)))
        connection.shutdown(socket.SHUT_WR)
        same(connection.recv(1), b"")
        connection.close()


def test_cut(_):
    """what is cut arrives nowhere, on old connections and on new ones, until it is healed"""
    with Network() as network:
        old, size = network.dial(1, 2)
        other, _ = network.dial(2, 1)
        receive(old, size)
        receive(other, size)
        network.relay.cut(1, 2)
        old.sendall(b"kept")
        new, _ = network.dial(1, 2)
        assert is_silent(old)
        assert is_silent(new)
        other.sendall(b"kept")
        assert is_silent(other)
        network.relay.heal(1, 2)
        receive(old, 4)
        receive(new, size)
        receive(other, 4)


def test_oneway(_):
    """one way may be cut: what is asked arrives, and its answer does not"""
    with Network() as network:
        there, size = network.dial(1, 2)
        receive(there, size)
        network.relay.oneway(2, 1)
        before = network.relay.status()[1, 2][1]
        there.sendall(b"asked")
        wait_until(lambda: network.relay.status()[1, 2][1] == before + 5)
        assert is_silent(there)
        network.relay.heal()
        receive(there, 5)


def test_others_go_on(_):
    """who is not named is not touched"""
    with Network() as network:
        network.relay.cut(1, 2)
        network.relay.delay(1, 2, 60000)
        connection, size = network.dial(3, 2)
        receive(connection, size)
        # A star is everybody.
        network.relay.cut("*", 2)
        network.relay.cut(3, 2)
        connection.sendall(b"x")
        assert is_silent(connection)


def test_delay(_):
    """bytes come later, and as many at once as before"""
    with Network() as network:
        connection, size = network.dial(1, 2)
        receive(connection, size)
        network.relay.delay(1, 2, 100, 20)

        def there_and_back():
            connection.sendall(MANY)
            receive(connection, len(MANY))
        took = times(there_and_back, 5)
        assert 0.2 <= took < 5, took


def test_rate(_):
    """bytes come slowly"""
    with Network() as network:
        connection, size = network.dial(1, 2)
        receive(connection, size)
        network.relay.rate(1, 2, 400_000)

        def there_and_back():
            connection.sendall(MANY * 2)
            receive(connection, 2 * len(MANY))
        took = times(there_and_back, 10)
        assert 0.3 <= took < 10, took


def test_reset(_):
    """connections break when they are told to, and can be made again"""
    with Network() as network:
        connection, size = network.dial(1, 2)
        receive(connection, size)
        network.relay.reset(2, 1)
        try:
            same(connection.recv(1), b"")
        except ConnectionResetError:
            pass
        wait_until(lambda: network.relay.status()[1, 2][0] == 0)
        connection, size = network.dial(1, 2)
        receive(connection, size)


def test_target_is_gone(_):
    """who dials a node that is not there is not kept waiting"""
    with Network() as network:
        network.echoes[2].close()
        connection, _ = network.dial(1, 2)
        try:
            same(connection.recv(1), b"")
        except ConnectionResetError:
            pass


def test_process(_):
    """who does not say who it is is known by its process"""
    with Network() as network:
        network.relay.pid(7, os.getpid())
        connection = socket.create_connection(("127.0.0.1", network.ports[2]))
        connection.sendall(b"\x16\3\1\0")
        receive(connection, 4)
        same(network.relay.status()[7, 2][0], 1)
        connection.close()


def test_commands(stele):
    """as a program it does what lines say"""
    path = stele.path("relay")
    echo = Echo()
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "relay.py")
    program = subprocess.Popen([sys.executable, script, path], stdout=subprocess.PIPE)
    same(program.stdout.readline(), b"ready\n")
    with socket.socket(socket.AF_UNIX) as control:
        control.connect(path)
        with control.makefile("rw") as lines:
            def say(line):
                lines.write(line + "\n")
                lines.flush()
                return lines.readline().strip()

            answer = say(f"node 1 {echo.port}").split()
            same(answer[0], "ok")
            for line in ("pid 1 1", "cut 1 2", "oneway 1 *", "heal", "heal 1 2", "delay 1 2 5",
                         "delay 1 2 5 2", "rate 1 2 1000", "reset 1 2", "calm"):
                same(say(line), "ok")
            with socket.create_connection(("127.0.0.1", int(answer[1]))) as connection:
                connection.sendall(b"what")
                same(connection.recv(4), b"what")
                assert "0>1:1:4" in say("status").split()
            for line in ("", "cut", "cut 1", "cut a b", "node 1 1 2 3", "fly"):
                same(say(line).split()[0], "error")
            lines.write("quit\n")
            lines.flush()
            same(program.wait(HANGS), 0)
    assert not os.path.exists(path)
    program.stdout.close()
    echo.close()


if __name__ == "__main__":
    main(sys.modules[__name__])
