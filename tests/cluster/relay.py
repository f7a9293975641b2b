"""A bad network between the nodes of a cluster, for tests with real processes on one machine. It needs no
rights and no namespaces: it stands in front of the cluster port of every node.

Each node tells the others the relay's port as its own, so that every connection between nodes goes through
here. Whoever dials says who it is in its hello; with TLS, where that cannot be read, and before a node has
its number, it is found by the process that holds the other end, if pid() was told. What the relay does is
decided for the way from one node to another: for what node 1 sends to node 2, in connections that either
of them made.

    relay = Relay()
    port = relay.node(1, 11121)     # In front of node 1, which listens on 11121.
    relay.cut(1, 2)                 # Both ways: nothing arrives, and nobody is told.
    relay.heal()

As a program, with the same commands in lines on a Unix socket, each answered in one line, "ok …" or
"error …":

    relay.py PATH

    node N TARGET [PORT]    stands in front of node N; answers the port
    pid N PID               connections of that process are node N's
    cut A B                 nothing arrives, both ways; what is sent is kept, as by a TCP that repeats it
    oneway A B              nothing of A arrives at B
    heal [A B]              everything arrives again; delays and rates stay
    delay A B MS [JITTER]   each way; jitter never reorders
    rate A B BYTES          each way, in a second; all connections together; 0: without a limit
    reset A B               breaks the connections that there are
    calm                    as in the beginning: nothing is cut, delayed or limited
    status                  answers who is connected with whom, and bytes that arrived
    quit

A and B are numbers; * is every node, also those that are not known (0). A connection from A to B that is
cut is accepted, but nothing of it arrives: it is as if the network were slow without end. It is up to those
who wait to lose patience, as in a real network.
"""

import asyncio
import os
import random
import sys
import threading

HELLO_SIZE = 20 + 32  # The header, and the hello up to its number.
CHUNK = 65536
KEPT_MAX = 4 * 1024 * 1024  # Bytes on their way in one direction of a connection.


class Way:
    """From one node to another."""

    def __init__(self):
        self.open = asyncio.Event()
        self.open.set()
        self.delay = self.jitter = 0.0
        self.rate = 0
        self.free_at = 0.0  # With a rate: when the next byte may go.
        self.bytes = 0


class Connection:
    def __init__(self, relay, to, reader, writer):
        self.relay, self.to, self.reader, self.writer = relay, to, reader, writer
        self.source = 0
        self.far_writer = None
        self.task = asyncio.current_task()

    def break_off(self):
        for writer in (self.writer, self.far_writer):
            if writer is not None:
                writer.transport.abort()
        self.task.cancel()

    async def run(self):
        try:
            first = await self.who()
            await self.relay.way(self.source, self.to).open.wait()
            far_reader, self.far_writer = await asyncio.open_connection(
                "127.0.0.1", self.relay.targets[self.to])
            there = self.relay.way(self.source, self.to)
            back = self.relay.way(self.to, self.source)
            await asyncio.gather(self.carry(self.reader, self.far_writer, there, first),
                                 self.carry(far_reader, self.writer, back, b""))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            for writer in (self.writer, self.far_writer):
                if writer is not None:
                    writer.transport.abort()

    async def who(self):
        """Finds out who dialled. Returns the bytes that were read for it."""
        first = await self.reader.readexactly(4)
        if first == b"SPF1":
            first += await self.reader.readexactly(HELLO_SIZE - 4)
            self.source = int.from_bytes(first[44:52], "little")
        if self.source == 0:
            self.source = self.relay.by_process(self.writer.get_extra_info("peername"))
        return first

    async def carry(self, reader, writer, way, first):
        """Each byte leaves `delay` after it came, so that a long way is not a narrow one."""
        queue = asyncio.Queue()
        room = asyncio.Event()
        kept = 0
        loop = asyncio.get_running_loop()

        async def take():
            nonlocal kept
            data, due = first, 0.0
            while True:
                if data:
                    due = max(due, loop.time() + way.delay + random.random() * way.jitter)
                    kept += len(data)
                    queue.put_nowait((due, data))
                while kept > KEPT_MAX:
                    room.clear()
                    await room.wait()
                await way.open.wait()
                data = await reader.read(CHUNK)
                if not data:
                    queue.put_nowait((max(due, loop.time() + way.delay), b""))
                    return

        async def give():
            nonlocal kept
            while True:
                due, data = await queue.get()
                await asyncio.sleep(max(0, due - loop.time()))
                if way.rate:
                    at = max(loop.time(), way.free_at)
                    way.free_at = at + len(data) / way.rate
                    await asyncio.sleep(at - loop.time())
                await way.open.wait()
                if not data:
                    if writer.can_write_eof():
                        writer.write_eof()
                    return
                writer.write(data)
                await writer.drain()
                way.bytes += len(data)
                kept -= len(data)
                room.set()

        await asyncio.gather(take(), give())


class Relay:
    """All methods may be called from any thread."""

    def __init__(self):
        self.targets = {}
        self.pids = {}
        self.ways = {}
        self.connections = set()
        self.servers = []
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    # ---- On the loop's thread ----

    def way(self, source, to):
        if (source, to) not in self.ways:
            self.ways[source, to] = Way()
        return self.ways[source, to]

    def by_process(self, peer):
        """The node whose process holds the socket with that address; 0: nobody's."""
        wanted = f"{bytes(reversed([int(x) for x in peer[0].split('.')])).hex().upper()}:{peer[1]:04X}"
        inodes = set()
        with open("/proc/net/tcp", encoding="ascii") as file:
            for line in file.readlines()[1:]:
                fields = line.split()
                if fields[1] == wanted:
                    inodes.add(f"socket:[{fields[9]}]")
        for number, pid in self.pids.items():
            try:
                for name in os.listdir(f"/proc/{pid}/fd"):
                    if os.readlink(f"/proc/{pid}/fd/{name}") in inodes:
                        return number
            except OSError:
                pass  # It is gone, or has just closed something.
        return 0

    async def listen(self, number, target, port):
        async def accept(reader, writer):
            connection = Connection(self, number, reader, writer)
            self.connections.add(connection)
            try:
                await connection.run()
            except asyncio.CancelledError:
                pass
            finally:
                self.connections.discard(connection)

        self.targets[number] = target
        server = await asyncio.start_server(accept, "127.0.0.1", port)
        self.servers.append(server)
        return server.sockets[0].getsockname()[1]

    def pairs(self, a, b, both=True):
        everybody = [0, *self.targets]
        for source in everybody if a == "*" else [int(a)]:
            for to in everybody if b == "*" else [int(b)]:
                if source != to:
                    yield source, to
                    if both:
                        yield to, source

    def each(self, a, b, both, change):
        for source, to in self.pairs(a, b, both):
            change(self.way(source, to))

    async def stop(self):
        for server in self.servers:
            server.close()
        for connection in list(self.connections):
            connection.break_off()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ---- From any thread ----

    def call(self, function, *args):
        async def run():
            result = function(*args)
            return await result if asyncio.iscoroutine(result) else result

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(30)

    def node(self, number, target, port=0):
        """Stands in front of a node; returns the port that the others are to dial."""
        return self.call(self.listen, int(number), int(target), int(port))

    def pid(self, number, pid):
        self.call(self.pids.__setitem__, int(number), int(pid))

    def cut(self, a, b):
        self.call(self.each, a, b, True, lambda way: way.open.clear())

    def oneway(self, a, b):
        self.call(self.each, a, b, False, lambda way: way.open.clear())

    def heal(self, a="*", b="*"):
        self.call(self.each, a, b, True, lambda way: way.open.set())

    def delay(self, a, b, ms, jitter_ms=0):
        def change(way):
            way.delay, way.jitter = float(ms) / 1000, float(jitter_ms) / 1000

        self.call(self.each, a, b, True, change)

    def rate(self, a, b, rate):
        def change(way):
            way.rate, way.free_at = int(rate), 0.0

        self.call(self.each, a, b, True, change)

    def reset(self, a, b):
        def run():
            pairs = set(self.pairs(a, b))
            for connection in list(self.connections):
                if (connection.source, connection.to) in pairs:
                    connection.break_off()

        self.call(run)

    def calm(self):
        self.heal()
        self.delay("*", "*", 0)
        self.rate("*", "*", 0)

    def status(self):
        """{(from, to): (connections that `from` made, bytes that arrived)}"""
        def run():
            result = {pair: (0, way.bytes) for pair, way in self.ways.items()}
            for connection in self.connections:
                pair = connection.source, connection.to
                count, size = result.get(pair, (0, 0))
                result[pair] = count + 1, size
            return result

        return self.call(run)

    def close(self):
        self.call(self.stop)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


COMMANDS = {"node": (2, 3), "pid": (2, 2), "cut": (2, 2), "oneway": (2, 2), "heal": (0, 2),
            "delay": (3, 4), "rate": (3, 3), "reset": (2, 2), "calm": (0, 0), "status": (0, 0)}


def obey(relay, line):
    words = line.split()
    if not words or words[0] not in COMMANDS:
        return "error no such command"
    least, most = COMMANDS[words[0]]
    if not least <= len(words) - 1 <= most:
        return f"error {words[0]} takes {least} to {most} words"
    try:
        result = getattr(relay, words[0])(*words[1:])
    except (OSError, ValueError) as error:
        return f"error {error}"
    if words[0] == "status":
        return "ok " + " ".join(f"{a}>{b}:{count}:{size}"
                                for (a, b), (count, size) in sorted(result.items()))
    return "ok" if result is None else f"ok {result}"


def serve(path):
    import socket  # Only as a program.
    relay = Relay()
    door = socket.socket(socket.AF_UNIX)
    door.bind(path)
    door.listen()
    print("ready", flush=True)
    while True:
        client, _ = door.accept()
        with client, client.makefile("rw", encoding="ascii", errors="replace") as lines:
            for line in lines:
                if line.strip() == "quit":
                    os.unlink(path)
                    relay.close()
                    return
                lines.write(obey(relay, line) + "\n")
                lines.flush()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    serve(sys.argv[1])
