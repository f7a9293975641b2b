"""Persistent subscriptions over the native service: what a group hands out, keeps and remembers."""

import queue
import sys

import grpc

from client import SANITIZED, Server, failure, put, v1
from harness import has, main, same, wait_until

NONE = 2**64 - 1


class Consumer:
    """A consumer in a group: joined when this returns."""

    def __init__(self, server, stream="order-1", group="workers", in_flight=0, **metadata):
        self.requests = queue.Queue()
        self.requests.put(v1.ConsumeRequest(join=v1.Join(stream=stream, group=group,
                                                         in_flight_max=in_flight)))
        self.call = server.store.Consume(iter(self.requests.get, None),
                                         metadata=[*metadata.items()], timeout=300)
        same(next(self.call), v1.ConsumeResponse(joined=True))

    def next(self, count=1):
        deliveries = []
        while len(deliveries) < count:
            deliveries += next(self.call).deliveries
        same(len(deliveries), count)
        return deliveries

    def ack(self, *ids):
        self.requests.put(v1.ConsumeRequest(ack=v1.Ack(ids=ids)))

    def nack(self, action, *ids, reason=""):
        self.requests.put(v1.ConsumeRequest(nack=v1.Nack(ids=ids, action=action, reason=reason)))

    def leave(self):
        self.requests.put(None)
        same(list(self.call), [])
        same(self.call.code(), grpc.StatusCode.OK)


def create(server, stream="order-1", group="workers", filter=None, **settings):
    made = v1.CreateGroup(settings=v1.GroupSettings(**settings), filter=filter)
    same(server.store.ChangeGroup(v1.ChangeGroupRequest(stream=stream, group=group, create=made)),
         v1.ChangeGroupResponse())


def change(server, stream="order-1", group="workers", **deed):
    return server.store.ChangeGroup(v1.ChangeGroupRequest(stream=stream, group=group, **deed))


def info(server, stream="order-1", group="workers"):
    groups = server.store.Groups(v1.GroupsRequest(stream=stream, group=group)).groups
    same(len(groups), 1)
    return groups[0]


def revisions(deliveries):
    return [delivery.event.revision for delivery in deliveries]


def test_settings_and_listing(stele):
    """a group is listed with its settings as they were asked for, defaults filled in"""
    with Server(stele) as server:
        put(server, "order-1", 3)
        create(server)
        same(info(server).settings, v1.GroupSettings(
            max_retries=10, message_timeout_ms=30000, checkpoint_after_ms=2000,
            min_checkpoint_count=10, max_checkpoint_count=1000, live_buffer_size=500,
            history_buffer_size=500, read_batch_size=20))
        chosen = dict(
            start=2, resolve_links=True, strategy=v1.STRATEGY_PINNED, max_retries=-1,
            message_timeout_ms=-1, checkpoint_after_ms=1, min_checkpoint_count=-1,
            max_checkpoint_count=7, max_consumers=3, live_buffer_size=50, history_buffer_size=60,
            read_batch_size=30, extra_statistics=True)
        create(server, group="others", **chosen)
        same(info(server, group="others").settings, v1.GroupSettings(**chosen))
        create(server, stream="$all", from_end=True)
        same(info(server, stream="$all").settings.from_end, True)
        listed = [(group.stream, group.name)
                  for group in server.store.Groups(v1.GroupsRequest()).groups]
        same(sorted(listed),
             [("$all", "workers"), ("order-1", "others"), ("order-1", "workers")])
        listed = [group.name for group in
                  server.store.Groups(v1.GroupsRequest(stream="order-1")).groups]
        same(sorted(listed), ["others", "workers"])
        same(list(server.store.Groups(v1.GroupsRequest(stream="none")).groups), [])
        change(server, group="others", update=v1.GroupSettings(max_retries=5))
        same(info(server, group="others").settings.max_retries, 5)
        change(server, group="others", delete=True)
        listed = [group.name for group in
                  server.store.Groups(v1.GroupsRequest(stream="order-1")).groups]
        same(listed, ["workers"])


def test_survives_a_restart(stele):
    """settings, checkpoint and parked events are there after a restart"""
    with Server(stele) as server:
        put(server, "order-1", 5)
        create(server, min_checkpoint_count=1, max_checkpoint_count=1, checkpoint_after_ms=1)
        consumer = Consumer(server)
        deliveries = consumer.next(5)
        consumer.ack(*(delivery.event.id for delivery in deliveries[:3]))
        consumer.nack(v1.NACK_ACTION_PARK, deliveries[3].event.id, reason="broken")
        wait_until(lambda: info(server).last_checkpoint == 3)
        same(info(server).parked, 1)
    with Server(stele) as server:
        same((info(server).last_checkpoint, info(server).parked), (3, 1))
        same(revisions(Consumer(server).next()), [4])


def test_acks_and_nacks(stele):
    """retry hands out again and counts, skip drops, park keeps; replay brings back, forget drops"""
    with Server(stele) as server:
        put(server, "order-1", 4, tags=["a", "bb"])
        create(server, min_checkpoint_count=1, max_checkpoint_count=1, checkpoint_after_ms=1)
        consumer = Consumer(server)
        first, second, third, fourth = consumer.next(4)
        same(revisions([first, second, third, fourth]), [0, 1, 2, 3])
        same(first.event, put.events[0])  # Whole: data, metadata, tags, times.
        same([first.retries, first.HasField("link")], [0, False])
        consumer.nack(v1.NACK_ACTION_RETRY, second.event.id)
        again = consumer.next()[0]
        same((again.event, again.retries), (second.event, 1))
        consumer.nack(v1.NACK_ACTION_SKIP, first.event.id)
        consumer.nack(v1.NACK_ACTION_PARK, third.event.id, fourth.event.id, reason="no good")
        consumer.ack(again.event.id, b"0" * 16)  # Unknown ids do not matter.
        wait_until(lambda: info(server).parked == 2 and info(server).last_checkpoint == 3)
        same(info(server).in_flight, 0)
        change(server, replay=v1.Parked(below=1))
        replayed = consumer.next()[0]
        same(replayed.event, third.event)
        consumer.ack(replayed.event.id)
        wait_until(lambda: info(server).parked == 1)
        change(server, forget=v1.Parked())
        wait_until(lambda: info(server).parked == 0)
        consumer.leave()


def test_in_flight_is_bounded(stele):
    """a consumer gets no more than it asked for until it acknowledges; statistics say so"""
    with Server(stele) as server:
        put(server, "order-1", 10)
        create(server)
        consumer = Consumer(server, in_flight=3, **{"connection-name": "counter"})
        deliveries = consumer.next(3)
        wait_until(lambda: info(server).in_flight == 3)
        group = info(server)
        same((group.status, group.delivered, group.consumers, group.last_known, group.waiting),
             ("live", 3, 1, 9, 7))
        same(group.last_checkpoint, NONE)
        member = group.consumer[0]
        has(getattr(member, "from"), "127.0.0.1:")
        same((member.connection_name, member.delivered, member.in_flight, member.in_flight_max),
             ("counter", 3, 3, 3))
        consumer.ack(deliveries[0].event.id, deliveries[2].event.id)
        same(revisions(consumer.next(2)), [3, 4])
        consumer.leave()
        wait_until(lambda: info(server).consumers == 0 and info(server).in_flight == 0)
        # What it had goes to the next one, first, and counts as a retry.
        same([(delivery.event.revision, delivery.retries)
              for delivery in Consumer(server, in_flight=4).next(4)],
             [(1, 1), (3, 1), (4, 1), (5, 0)])


def test_two_consumers_share(stele):
    """two consumers get each event once between them, whichever strategy"""
    with Server(stele) as server:
        for name in ("ROUND_ROBIN", "DISPATCH_TO_SINGLE", "PINNED", "PINNED_BY_CORRELATION"):
            stream = "of-" + name
            create(server, stream=stream, strategy=getattr(v1, "STRATEGY_" + name))
            consumers = {who: Consumer(server, stream=stream, in_flight=20, **{"connection-name": who})
                         for who in ("one", "two")}
            put(server, stream, 10)
            wait_until(lambda: info(server, stream=stream).delivered == 10)
            counts = [consumer.delivered for consumer in info(server, stream=stream).consumer]
            same(sum(counts), 10)
            if name == "ROUND_ROBIN":
                same(counts, [5, 5])
            else:  # All are of one stream.
                same(sorted(counts), [0, 10])
            got = [delivery.event.revision for member in info(server, stream=stream).consumer
                   for delivery in consumers[member.connection_name].next(member.delivered)]
            same(sorted(got), list(range(10)))


def test_filters_of_all(stele):
    """a group of all events has the native filters: types, streams, categories, tags, system events"""
    def of(filter):
        create(server, stream="$all", group=str(filter), filter=filter)
        return Consumer(server, stream="$all", group=str(filter), in_flight=100)

    with Server(stele) as server:
        put(server, "order-1", 2, type="Placed", tags=["x"])
        put(server, "order-2", 1, type="Paid")
        put(server, "bill-1", 1, type="Placed", tags=["x", "y"])
        for filter, want in [
                (v1.Filter(types=["Placed"]), ["order-1", "order-1", "bill-1"]),
                (v1.Filter(type_prefixes=["Pa"]), ["order-2"]),
                (v1.Filter(streams=["order-2", "bill-1"]), ["order-2", "bill-1"]),
                (v1.Filter(categories=["order"]), ["order-1", "order-1", "order-2"]),
                (v1.Filter(tags=["x", "y"]), ["bill-1"]),
                (v1.Filter(stream_regex="^b", include_system_events=True), ["bill-1"])]:
            deliveries = of(filter).next(len(want))
            same([delivery.event.stream for delivery in deliveries], want)


def test_refusals(stele):
    """what cannot be done fails with a status, words and a machine-readable outcome"""
    status = grpc.StatusCode
    with Server(stele) as server:
        put(server, "order-1", 1)
        create(server, max_consumers=1)
        again = v1.CreateGroup()
        for code, outcome, words, call in [
                (status.ALREADY_EXISTS, "group-exists", "exists", lambda: change(server, create=again)),
                (status.NOT_FOUND, "not-found", "does not exist",
                 lambda: change(server, group="none", update=v1.GroupSettings())),
                (status.NOT_FOUND, "not-found", "does not exist",
                 lambda: change(server, group="none", delete=True)),
                (status.NOT_FOUND, "not-found", "does not exist",
                 lambda: change(server, group="none", replay=v1.Parked())),
                (status.NOT_FOUND, "not-found", "does not exist", lambda: info(server, group="none")),
                (status.INVALID_ARGUMENT, "invalid", "no change", lambda: change(server)),
                (status.INVALID_ARGUMENT, "invalid", "named", lambda: change(server, stream="", delete=True)),
                (status.INVALID_ARGUMENT, "invalid", "named", lambda: change(server, group="", delete=True)),
                (status.INVALID_ARGUMENT, "invalid", "named", lambda: info(server, stream="")),
                (status.INVALID_ARGUMENT, "invalid", "zero byte", lambda: info(server, group="a\0b")),
                (status.INVALID_ARGUMENT, "invalid", "read batch",
                 lambda: create(server, group="bad", read_batch_size=500)),
                (status.INVALID_ARGUMENT, "invalid", "malformed",
                 lambda: create(server, group="bad", strategy=4)),
                (status.NOT_FOUND, "not-found", "does not exist", lambda: Consumer(server, group="none")),
                (status.INVALID_ARGUMENT, "invalid", "named", lambda: Consumer(server, group="")),
                (status.INVALID_ARGUMENT, "limit", "too long", lambda: Consumer(server, group="g" * 513))]:
            got = failure(call)
            same((got[0], got[2]), (code, outcome))
            has(got[1], words)
        consumer = Consumer(server)
        got = failure(lambda: Consumer(server))
        same((got[0], got[2]), (status.FAILED_PRECONDITION, "limit"))
        change(server, update=v1.GroupSettings())
        got = failure(lambda: consumer.next(100))
        same((got[0], got[2]), (status.UNAVAILABLE, "closed"))
        for requests, words in [
                ([v1.ConsumeRequest()], "malformed"),
                ([v1.ConsumeRequest(ack=v1.Ack())], "first message has to join"),
                ([v1.ConsumeRequest(join=v1.Join(stream="order-1", group="workers"))] * 2, "already"),
                ([v1.ConsumeRequest(join=v1.Join(stream="order-1", group="workers")),
                  v1.ConsumeRequest(ack=v1.Ack(ids=[b"short"]))], "malformed"),
                ([v1.ConsumeRequest(join=v1.Join(stream="order-1", group="workers")),
                  v1.ConsumeRequest(nack=v1.Nack(action=3))], "malformed")]:
            got = failure(lambda: server.store.Consume(iter(requests)))
            same(got[0], status.INVALID_ARGUMENT)
            has(got[1], words)


def test_reader_that_does_not_read(stele):
    """a consumer that stops reading makes the server keep what the group keeps, and no copy; it reads on"""
    with Server(stele) as server:
        for _ in range(8):
            put(server, "order-1", 25, data=b"x" * 200_000)
        create(server)
        before = server.memory()
        consumer = Consumer(server, in_flight=200)  # 40 MB, which the group holds.
        wait_until(lambda: info(server).in_flight == 200)
        grown = server.memory() - before
        assert SANITIZED or grown < 60_000, grown
        same(revisions(consumer.next(200)), list(range(200)))


if __name__ == "__main__":
    main(sys.modules[__name__])
