"""Following over the native service: nothing skipped, nothing twice, and the client sets the pace."""

import queue
import sys
import threading
import time

import grpc

from client import SANITIZED, Server, failure, put, read, v1
from harness import HANGS, main, same, wait_until

CODE = grpc.StatusCode


class Follower:
    """A subscription. Its messages are read when it is asked for them, and not before."""

    def __init__(self, server, stream=None, from_=0, timeout=300, **start):
        self.requests = queue.Queue()
        start = v1.Start(stream=stream or "", **{"from": from_}, **start)
        self.requests.put(v1.SubscribeRequest(start=start))
        method = server.store.SubscribeToStream if stream else server.store.SubscribeToAll
        self.call = method(iter(self.requests.get, None), timeout=timeout)
        self.pending = []

    def message(self):
        return next(self.call)

    def started(self):
        message = self.message()
        assert message.heartbeat.started and not message.events, message
        return message.heartbeat

    def events(self, count):
        """So many events; heartbeats between them are left out."""
        while len(self.pending) < count:
            self.pending += self.message().events
        taken, self.pending = self.pending[:count], self.pending[count:]
        return taken

    def heartbeat(self, wanted=lambda heartbeat: True):
        """The next heartbeat that is wanted; there must be no events before it."""
        while True:
            message = self.message()
            same(list(message.events), [])
            if wanted(message.heartbeat):
                return message.heartbeat

    def credit(self, count):
        self.requests.put(v1.SubscribeRequest(credits=count))

    def stop(self):
        self.call.cancel()
        self.requests.put(None)


def revisions(events):
    return [event.revision for event in events]


def test_catching_up_and_live(stele):
    """a stream is followed from any revision over its end into what comes, without a seam"""
    with Server(stele) as server:
        put(server, "a", 50)
        followers = {start: Follower(server, "a", start) for start in (0, 17, 50)}
        end = Follower(server, "a", from_end=True)
        for follower in [*followers.values(), end]:
            follower.started()
        writer = threading.Thread(target=lambda: [put(server, "a", 1) for _ in range(20)])
        writer.start()
        for start, follower in followers.items():
            events = follower.events(70 - start)
            same(revisions(events), list(range(start, 70)))
        same(revisions(end.events(20)), list(range(50, 70)))
        writer.join()
        same(events, read(server, stream="a", **{"from": 50}))


def test_all_and_views(stele):
    """all events, categories and types are followed; a stream that is not there yet is waited for"""
    with Server(stele) as server:
        everything = Follower(server, filter=v1.Filter())
        category = Follower(server, "$ce-order", by_ordinal=True)
        kind = Follower(server, "$et-Paid")
        later = Follower(server, "order-9")
        for follower in (everything, category, kind, later):
            follower.started()
        put(server, "order-1", 2)
        put(server, "bill-1", 1, type="Paid")
        put(server, "order-9", 1, type="Paid")
        same([event.stream for event in everything.events(4)],
             ["order-1", "order-1", "bill-1", "order-9"])
        same([(event.stream, event.ordinal) for event in category.events(3)],
             [("order-1", 1), ("order-1", 2), ("order-9", 3)])
        same([event.stream for event in kind.events(2)], ["bill-1", "order-9"])
        same([event.stream for event in later.events(1)], ["order-9"])


def test_filters(stele):
    """each filter hands out what it names, old and new; system events only when they are asked for"""
    filters = [
        (v1.Filter(types=["Placed"]), ["order-1", "bill-1"]),
        (v1.Filter(type_prefixes=["Pa"]), ["order-2"]),
        (v1.Filter(type_regex="^Pl"), ["order-1", "bill-1"]),
        (v1.Filter(streams=["order-2", "bill-1"]), ["order-2", "bill-1"]),
        (v1.Filter(stream_prefixes=["order-"]), ["order-1", "order-2"]),
        (v1.Filter(stream_regex="1$"), ["order-1", "bill-1"]),
        (v1.Filter(categories=["bill"]), ["bill-1"]),
        (v1.Filter(tags=["x", "y"]), ["order-1"]),
        (v1.Filter(types=["$metadata"], include_system_events=True), ["$$order-1"])]

    def write(server):
        put(server, "order-1", 1, type="Placed", tags=["x", "y"])
        put(server, "order-2", 1, type="Paid", tags=["x"])
        put(server, "bill-1", 1, type="Placed")
        server.store.Meta(v1.MetaRequest(stream="order-1", set=b"{}"))

    with Server(stele) as server:
        write(server)
        followers = [(Follower(server, filter=filter), want) for filter, want in filters]
        for follower, want in followers:
            same([event.stream for event in follower.events(len(want))], want)
            follower.heartbeat(lambda heartbeat: heartbeat.caught_up)
        write(server)
        for follower, want in followers:
            same([event.stream for event in follower.events(len(want))], want)


def test_heartbeats_by_count(stele):
    """after every hundred events looked at comes a checkpoint, from which nothing is missed"""
    with Server(stele) as server:
        put(server, "noise", 1000)
        put(server, "wanted", 1, type="Wanted")
        put(server, "noise", 450)
        positions = [event.position for event in read(server)]
        wanted = [event.position for event in read(server, stream="wanted")][0]
        follower = Follower(server, filter=v1.Filter(types=["Wanted"], tags=[]))
        # By type goes through the index, which looks at what matches only; a regular expression does not.
        scanning = Follower(server, filter=v1.Filter(type_regex="^Wanted$"))
        checkpoints, seen = [scanning.started().checkpoint], []
        same(checkpoints, [0])
        while True:
            message = scanning.message()
            seen += [event.position for event in message.events]
            if message.HasField("heartbeat"):
                checkpoints.append(message.heartbeat.checkpoint)
                if message.heartbeat.checkpoint < wanted:
                    same(seen, [])
                if message.heartbeat.caught_up:
                    break
        same(seen, [wanted])
        same(checkpoints, sorted(checkpoints))
        assert checkpoints[-1] >= positions[-1], (checkpoints, positions[-1])
        for before, after in zip(checkpoints, checkpoints[1:]):
            between = sum(before < position <= after for position in positions)
            assert between <= 100, (between, checkpoints)
        same([event.position for event in follower.events(1)], [wanted])
        # Going on behind any checkpoint gives exactly what had not been handed out.
        for checkpoint in checkpoints:
            again = Follower(server, from_=checkpoint + 1, filter=v1.Filter(type_regex="^Wanted$"))
            again.started()
            if checkpoint < wanted:
                same([event.position for event in again.events(1)], [wanted])
            again.heartbeat(lambda heartbeat: heartbeat.caught_up)
            again.stop()


def test_heartbeats_of_matching_events(stele):
    """events that match count as looked at, too, also one by one at the live end"""
    with Server(stele) as server:
        follower = Follower(server, filter=v1.Filter(stream_prefixes=["a"]), heartbeat_events=10,
                            heartbeat_ms=3600000)
        follower.started()
        follower.heartbeat(lambda heartbeat: heartbeat.caught_up)
        for i in range(25):
            put(server, "a" if i % 2 else "b", 1)
        seen, checkpoints = [], []
        while len(seen) < 12 or len(checkpoints) < 2:
            message = follower.message()
            seen += [event.position for event in message.events]
            if message.HasField("heartbeat"):
                checkpoints.append(message.heartbeat.checkpoint)
                assert checkpoints[-1] >= max(seen), (checkpoints, seen)
        same(len(seen), 12)


def test_heartbeats_when_idle(stele):
    """an idle second brings a checkpoint with the time, again and again, and the same by a client's choice"""
    with Server(stele) as server:
        last = put(server, "a", 3).position_last
        usual = Follower(server)
        fast = Follower(server, heartbeat_ms=50)
        for follower in (usual, fast):
            follower.started()
            follower.events(3)
        beats = [fast.heartbeat() for _ in range(11)]
        assert all(beat.caught_up and beat.checkpoint >= last for beat in beats), beats
        times = [beat.time_us for beat in beats]
        same(times, sorted(set(times)))
        # By the server's clock, since this process may have read late what came in time. A server that had to wait for
        # the processor says so in one of its times, but hardly in so many.
        assert times[-1] - times[0] >= 0.2e6, times
        assert abs(times[-1] / 1e6 - time.time()) < HANGS, times
        usual.heartbeat(lambda beat: beat.caught_up)
        times = [usual.heartbeat().time_us for _ in range(3)]
        gaps = [after - before for before, after in zip(times, times[1:])]
        assert 0.9e6 < max(gaps) < HANGS * 1e6, gaps


def test_credits(stele):
    """with credits exactly so many events come, whatever their number in a message; heartbeats go on"""
    with Server(stele) as server:
        put(server, "a", 1000)
        follower = Follower(server, "a", credits=7, heartbeat_ms=50)
        follower.started()
        same(revisions(follower.events(7)), list(range(7)))
        same(follower.pending, [])
        for _ in range(3):
            follower.heartbeat()
        follower.credit(1)
        same(revisions(follower.events(1)), [7])
        same(follower.pending, [])
        follower.heartbeat()
        follower.credit(100)
        follower.credit(100)
        same(revisions(follower.events(200)), list(range(8, 208)))
        same(follower.pending, [])
        follower.credit(10_000)
        same(revisions(follower.events(792)), list(range(208, 1000)))
        put(server, "a", 5)  # Credits are left for what comes.
        same(revisions(follower.events(5)), list(range(1000, 1005)))


def test_credits_without_events(stele):
    """a checkpoint never passes an event that waits for credit"""
    with Server(stele) as server:
        put(server, "a", 10)
        positions = [event.position for event in read(server, stream="a")]
        follower = Follower(server, filter=v1.Filter(stream_regex="^a$"), credits=4, heartbeat_ms=30)
        follower.started()
        follower.events(4)
        for _ in range(5):
            assert follower.heartbeat().checkpoint < positions[4]
        put(server, "b", 150)
        for _ in range(5):
            assert follower.heartbeat().checkpoint < positions[4]
        follower.credit(6)
        same([event.position for event in follower.events(6)], positions[4:])


def test_slow_readers(stele):
    """readers that stop reading cost the server nothing while events go on; they miss none"""
    with Server(stele) as server:
        put(server, "a", 20, data=b"x" * 100_000)
        slow = [Follower(server, "a") for _ in range(20)] + [Follower(server, filter=v1.Filter()) for _ in range(20)]
        for follower in slow:
            follower.started()
        before = server.memory()
        for _ in range(20):  # 40 MB, of which each of the 40 would have to get all.
            put(server, "a", 20, data=b"x" * 100_000)
        grown = server.memory() - before
        assert SANITIZED or grown < 120_000, grown  # The client's windows of some hundred KiB each, and caches.
        same(revisions(slow[0].events(420)), list(range(420)))
        same(revisions(slow[-1].events(420)), list(range(420)))


def test_resuming(stele):
    """a follower that breaks off anywhere and begins behind its checkpoint gets each event once"""
    with Server(stele) as server:
        put(server, "a", 300)
        put(server, "b", 300)
        positions = [event.position for event in read(server, filter=v1.Filter())]
        seen, checkpoint = [], 0
        for step in (1, 10, 100, 150, 1000):
            follower = Follower(server, from_=checkpoint + 1 if checkpoint else 0,
                                filter=v1.Filter(stream_regex="."), credits=step)
            follower.started()
            while len(seen) < len(positions):
                message = follower.message()
                for event in message.events:
                    seen.append(event.position)
                    checkpoint = event.position
                if message.HasField("heartbeat"):
                    assert message.heartbeat.checkpoint >= checkpoint
                    checkpoint = message.heartbeat.checkpoint
                if step != 1000 and message.events:
                    break
            follower.stop()
        same(seen, positions)


def test_ends(stele):
    """a tombstone is the last event of a stream that is followed; what cannot be followed is refused"""
    with Server(stele) as server:
        put(server, "a", 2)
        follower = Follower(server, "a")
        follower.started()
        follower.events(2)
        server.store.Meta(v1.MetaRequest(stream="a", tombstone=True))
        same([event.flags for event in follower.events(1)], [2])
        code, _, outcome = failure(lambda: follower.events(1))
        same((code, outcome), (CODE.FAILED_PRECONDITION, "stream-deleted"))
        for call, want in [
                (lambda: server.store.SubscribeToStream(iter([v1.SubscribeRequest(start=v1.Start())])),
                 "invalid"),
                (lambda: server.store.SubscribeToStream(iter([
                    v1.SubscribeRequest(start=v1.Start(stream="s" * 1100))])), "limit"),
                (lambda: server.store.SubscribeToAll(iter([v1.SubscribeRequest(credits=1)])), "invalid"),
                (lambda: server.store.SubscribeToAll(iter([])), "invalid"),
                (lambda: server.store.SubscribeToAll(iter([v1.SubscribeRequest(
                    start=v1.Start(filter=v1.Filter(stream_regex="(")))])), "invalid")]:
            code, words, outcome = failure(call)
            same((code, outcome), (CODE.INVALID_ARGUMENT, want))
            assert words


def test_server_stops(stele):
    """a server that stops ends subscriptions with a status that says: connect again"""
    with Server(stele) as server:
        put(server, "a", 1)
        follower = Follower(server, "a")
        follower.started()
        follower.events(1)
        thread = threading.Thread(target=server.stop)
        thread.start()
        code, _, _ = failure(lambda: follower.call)
        thread.join()
        same(code, CODE.UNAVAILABLE)


def test_many_followers(stele):
    """two hundred followers of one stream each get each event once"""
    with Server(stele) as server:
        followers = [Follower(server, "a") for _ in range(200)]
        for follower in followers:
            follower.started()
        put(server, "a", 20)
        wait_until(lambda: len(read(server, stream="a")) == 20)
        for follower in followers:
            same(revisions(follower.events(20)), list(range(20)))
            follower.stop()


if __name__ == "__main__":
    main(sys.modules[__name__])
