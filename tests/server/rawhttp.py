"""Raw HTTP/2 for tests: frames as bytes, so that they can be wrong on purpose."""

import socket
import struct
import time

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING = 0, 1, 2, 3, 4, 6
GOAWAY, WINDOW_UPDATE, CONTINUATION = 7, 8, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1
CALM = 11
HANGS = 300  # Seconds: nothing takes that long unless it hangs, on a busy machine, too.


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(
        ">I", stream) + payload


def u32(value):
    return struct.pack(">I", value)


def literal(name, value):
    """A header that goes into no table: RFC 7541 section 6.2.2."""
    assert len(name) < 127 and len(value) < 127
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def request(path, method=b"GET", **headers):
    block = (literal(b":method", method) + literal(b":scheme", b"http") +
             literal(b":authority", b"localhost") + literal(b":path", path))
    for name, value in headers.items():
        block += literal(name.replace("_", "-").encode(), value)
    return block


class Peer:
    """A connection that has said the preface."""

    def __init__(self, port, settings=b"", context=None):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=HANGS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self.buffer = b""
        self.next = 1
        self.send(PREFACE + frame(SETTINGS, 0, 0, settings))

    def send(self, data):
        self.socket.sendall(data)

    def open(self, path, end=True, **kwargs):
        stream = self.next
        self.next += 2
        self.send(frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream,
                        request(path, **kwargs)))
        return stream

    def read(self, timeout=HANGS):
        """(kind, flags, stream, payload) of the next frame; None at the end."""
        deadline = time.monotonic() + timeout
        while True:
            if len(self.buffer) >= 9:
                size = int.from_bytes(self.buffer[:3], "big")
                if len(self.buffer) >= 9 + size:
                    head, payload = self.buffer[:9], self.buffer[9:9 + size]
                    self.buffer = self.buffer[9 + size:]
                    return head[3], head[4], int.from_bytes(head[5:9], "big"), payload
            self.socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self.buffer += data

    def until(self, kind, stream=None, timeout=HANGS):
        """The next frame of that kind (and stream); what comes before it is dropped."""
        while True:
            got = self.read(timeout)
            if got is None or (got[0] == kind and stream in (None, got[2])):
                return got

    def flood(self, data):
        """Sends data again and again until the server hangs up. Returns the error of its GOAWAY."""
        error = None
        try:
            # Many at once: what is a flood is told by the clock, and this process may get little of the machine. The
            # server may get even less for a while, in which buffers between the two take it.
            end = time.monotonic() + HANGS
            while time.monotonic() < end:
                self.send(b"".join(data() for _ in range(50)) if callable(data) else data * 50)
            raise AssertionError("the server took the whole flood")
        except (BrokenPipeError, ConnectionResetError):
            pass
        try:
            while (got := self.read()) is not None:
                if got[0] == GOAWAY:
                    error = int.from_bytes(got[3][4:8], "big")
        except OSError:
            pass
        return error

    def close(self):
        self.socket.close()
