"""Appending, reading and asking over the native service: every RPC, values compared, every refusal."""

import sys
import threading
import time
import uuid

import grpc

from client import MESSAGES, SANITIZED, Server, Service, failure, put, read, v1
from harness import has, main, same, wait_until

CODE = grpc.StatusCode
NO_EVENTS = 2**64 - 2


def one(stream, *types, expectation=0, revision=0, data=b"{}", **fields):
    """What an append does to one stream."""
    events = [v1.Draft(type=kind, data=data, **fields) for kind in types]
    return v1.StreamAppend(stream=stream, expectation=expectation, expected_revision=revision,
                           events=events)


def append(server, *streams, conditions=(), **options):
    return server.store.Append(v1.AppendRequest(streams=streams, conditions=conditions), **options)


def query(after=0, types=(), tags=()):
    return v1.Condition(after=after, items=[v1.QueryItem(types=types, tags=tags)])


def ends(server, **request):
    """The ends of a read: those of a ReadMany if reads are given."""
    if "reads" in request:
        answers = server.store.ReadMany(v1.ReadManyRequest(**request))
    else:
        answers = server.store.Read(v1.ReadRequest(**request))
    return [(answer.correlation, answer.end) for answer in answers if answer.HasField("end")]


def types_of(events):
    return [event.type for event in events]


# ---- Appending ----


def test_append_answers(stele):
    """an append tells positions, revisions and a token, and each stream's last revision"""
    with Server(stele) as server:
        first = append(server, one("a", "A", "B"))
        same((first.outcome, first.revision_first, first.revision_last), (v1.OUTCOME_OK, 0, 1))
        assert 0 < first.position_first < first.position_last
        assert first.token
        same(list(first.revisions_last), [1])
        second = server.store.Append(v1.AppendRequest(
            correlation=77, streams=[one("a", "C"), one("b", "D", "E"), one("c")]))
        same(second.correlation, 77)
        same(list(second.revisions_last), [2, 1, NO_EVENTS])
        assert first.position_last < second.position_first < second.position_last
        events = read(server)
        same([(event.stream, event.revision, event.type) for event in events if event.stream < "d"
              and event.stream[0] != "$"],
             [("a", 0, "A"), ("a", 1, "B"), ("a", 2, "C"), ("b", 0, "D"), ("b", 1, "E")])
        same(events[-1].position, second.position_last)


def test_events_come_back_whole(stele):
    """every field of a draft is in the event: id, type, bytes, content type, tags, time"""
    with Server(stele) as server:
        draft = v1.Draft(id=uuid.uuid4().bytes, type="Tüpe", data=bytes(range(256)), metadata=b"\0m",
                         content_type="image/png", tags=["a", "b" * 255], created_us=1234567890123456)
        append(server, v1.StreamAppend(stream="ström", events=[draft]))
        event = read(server, stream="ström")[0]
        same((event.id, event.type, event.data, event.metadata, event.content_type,
              list(event.tags), event.created_us, event.stream, event.revision, event.flags),
             (draft.id, draft.type, draft.data, draft.metadata, "image/png", list(draft.tags),
              draft.created_us, "ström", 0, 0))
        before = time.time_ns() // 1000
        append(server, one("plain", "P"))
        event = read(server, stream="plain")[0]
        same((len(event.id), event.content_type, event.metadata), (16, "", b""))
        assert before - 1_000_000 <= event.created_us <= time.time_ns() // 1000 + 1_000_000


def test_repeats_are_stored_once(stele):
    """an append again with the same ids is answered as the first was, and marked"""
    with Server(stele) as server:
        request = one("a", "A", id=uuid.uuid4().bytes)
        first, second = append(server, request), append(server, request)
        same((first.idempotent, second.idempotent), (False, True))
        same((second.position_last, second.revision_last),
             (first.position_last, first.revision_last))
        same(len(read(server, stream="a")), 1)


def test_refused_appends(stele):
    """an append that is refused says which stream or condition, why, and what is there instead"""
    with Server(stele) as server:
        there = append(server, one("a", "A", "A", tags=["t"]))
        server.store.Meta(v1.MetaRequest(stream="gone", tombstone=True))
        ident = uuid.uuid4().bytes
        append(server, one("ids", "A", id=ident))
        for outcome, words, fields, streams, conditions in [
                (v1.OUTCOME_WRONG_REVISION, "", {"revision_last": 1, "failed": 1},
                 [one("b", "B"), one("a", "B", expectation=v1.EXPECTATION_REVISION, revision=5)], ()),
                (v1.OUTCOME_WRONG_REVISION, "", {"revision_last": 1, "failed": 0},
                 [one("a", "B", expectation=v1.EXPECTATION_NO_STREAM)], ()),
                (v1.OUTCOME_WRONG_REVISION, "", {"revision_last": NO_EVENTS, "failed": 0},
                 [one("b", "B", expectation=v1.EXPECTATION_EXISTS)], ()),
                (v1.OUTCOME_WRONG_REVISION, "", {"failed": 1, "revision_last": 1},
                 [one("b", "B"), one("a", expectation=v1.EXPECTATION_REVISION, revision=0)], ()),
                (v1.OUTCOME_STREAM_DELETED, "", {"failed": 0}, [one("gone", "B")], ()),
                (v1.OUTCOME_CONDITION_FAILED, "",
                 {"failed": 1, "conflict_position": there.position_last},
                 [one("b", "B")], [query(types=["None"]), query(tags=["t"])]),
                (v1.OUTCOME_ID_CONFLICT, "id", {}, [v1.StreamAppend(stream="ids", events=[
                    v1.Draft(type="A", id=ident), v1.Draft(type="B", id=uuid.uuid4().bytes)])], ()),
                (v1.OUTCOME_INVALID, "id", {}, [one("b", "B", id=b"short")], ()),
                (v1.OUTCOME_INVALID, "zero byte", {}, [one("b\0", "B")], ()),
                (v1.OUTCOME_INVALID, "", {}, [one("", "B")], ()),
                (v1.OUTCOME_INVALID, "", {}, [one("b", "")], ()),
                (v1.OUTCOME_INVALID, "", {}, [], ()),
                (v1.OUTCOME_LIMIT, "", {}, [one("b" * 1025, "B")], ()),
                (v1.OUTCOME_LIMIT, "", {}, [one("b", "B", tags=["t"] * 33)], ()),
                (v1.OUTCOME_LIMIT, "", {}, [one("b", "B" * 256)], ()),
                (v1.OUTCOME_LIMIT, "", {}, [one("b", "B")], [query()] * 65)]:
            answer = append(server, *streams, conditions=conditions)
            same(answer.outcome, outcome)
            assert answer.message, answer
            has(answer.message, words)
            same({name: getattr(answer, name) for name in fields}, fields)
            same((answer.position_last, answer.token, list(answer.revisions_last)), (0, "", []))
        same(read(server, stream="b"), [])
        same(append(server, one("b", "B"), conditions=[query(tags=["t"], after=there.position_last)])
             .outcome, v1.OUTCOME_OK)


def test_many_appends_in_one_call(stele):
    """answers of a stream of appends come in order, also of those refused in between"""
    def requests():
        for i in range(3000):
            bad = i % 7 == 3
            yield v1.AppendRequest(correlation=i + 1, streams=[
                one(f"s-{i % 5}", "A", expectation=v1.EXPECTATION_REVISION if bad else 0,
                    revision=10**6)])

    with Server(stele) as server:
        answers = list(server.store.AppendEvents(requests()))
        same([answer.correlation for answer in answers], list(range(1, 3001)))
        same([answer.outcome for answer in answers],
             [v1.OUTCOME_WRONG_REVISION if i % 7 == 3 else v1.OUTCOME_OK for i in range(3000)])
        positions = [answer.position_first for answer in answers if answer.outcome == 0]
        same(positions, sorted(positions))
        same(len(read(server, filter=v1.Filter(types=["A"]))), len(positions))
        same(list(server.store.AppendEvents(iter(()))), [])


def test_large_append(stele):
    """an event of 16 MiB is stored; what is larger is refused by name, and a message beyond all bounds ends the call"""
    with Server(stele) as server:
        data = b"x" * (16 * 1024 * 1024 - 1)
        same(append(server, one("big", "B", data=data)).outcome, v1.OUTCOME_OK)
        same(read(server, stream="big")[0].data, data)
        same(append(server, one("big", "B", data=data + b"xx")).outcome, v1.OUTCOME_LIMIT)
        huge = [one("big", *["B"] * 5, data=data)]
        code, _, _ = failure(lambda: append(server, *huge))
        same(code, CODE.RESOURCE_EXHAUSTED)
        same(append(server, one("big", "B")).revision_last, 1)


# ---- Reading ----


def test_reading_a_stream(stele):
    """a stream is read from anywhere, both ways, limited; the end says how far everything is known"""
    with Server(stele) as server:
        last = put(server, "a", 10).position_last
        put(server, "b", 1)
        revisions = [event.revision for event in read(server, stream="a")]
        same(revisions, list(range(10)))
        for request, want in [
                (dict(**{"from": 4}), [4, 5, 6, 7, 8, 9]), (dict(**{"from": 4}, limit=2), [4, 5]),
                (dict(from_end=True, backwards=True, limit=3), [9, 8, 7]),
                (dict(**{"from": 2}, backwards=True), [2, 1, 0]), (dict(**{"from": 10}), [])]:
            same([event.revision for event in read(server, stream="a", **request)], want)
        (_, end), = ends(server, stream="a")
        same((end.outcome, end.no_stream), (v1.OUTCOME_OK, False))
        assert end.position >= last
        (_, end), = ends(server, stream="none")
        same((end.no_stream, end.outcome), (True, v1.OUTCOME_OK))


def test_views(stele):
    """categories and types are read like streams, by position or by ordinal"""
    with Server(stele) as server:
        for i in range(6):
            append(server, one(f"order-{i % 2}", "Odd" if i % 2 else "Even"))
        append(server, one("bill-1", "Even"))
        same([event.stream for event in read(server, stream="$ce-order")],
             ["order-0", "order-1"] * 3)
        same(types_of(read(server, stream="$et-Even")), ["Even"] * 4)
        events = read(server, stream="$ce-order", by_ordinal=True)
        same([event.ordinal for event in events], [1, 2, 3, 4, 5, 6])
        events = read(server, stream="$ce-order", by_ordinal=True, **{"from": 4})
        same([(event.ordinal, event.stream) for event in events], [(5, "order-0"), (6, "order-1")])
        same([event.stream for event in
              read(server, stream="$ce-order", **{"from": events[0].position})],
             ["order-0", "order-1"])


def test_filters(stele):
    """each filter gives what it names; fields of one filter all have to match; system events are left out"""
    with Server(stele) as server:
        append(server, one("order-1", "Placed", tags=["x", "y"]))
        append(server, one("order-2", "Paid", tags=["x"]))
        append(server, one("bill-1", "Placed"))
        server.store.Meta(v1.MetaRequest(stream="order-1", set=b'{"$maxCount": 100}'))

        def seen(**fields):
            return [event.stream for event in read(server, filter=v1.Filter(**fields))]

        same(seen(types=["Placed", "Other"]), ["order-1", "bill-1"])
        same(seen(type_prefixes=["Pa", "Z"]), ["order-2"])
        same(seen(type_regex="^P.*d$"), ["order-1", "order-2", "bill-1"])
        same(seen(streams=["order-2", "none"]), ["order-2"])
        same(seen(stream_prefixes=["order-"]), ["order-1", "order-2"])
        same(seen(stream_regex="1$"), ["order-1", "bill-1"])
        same(seen(categories=["bill"]), ["bill-1"])
        same(seen(tags=["x"]), ["order-1", "order-2"])
        same(seen(tags=["x", "y"]), ["order-1"])
        same(seen(types=["Placed"], categories=["order"]), ["order-1"])
        same(seen(types=["Placed"], tags=["x"], stream_regex="order"), ["order-1"])
        same(seen(), ["order-1", "order-2", "bill-1"])
        same([stream for stream in seen(include_system_events=True) if "order" in stream],
             ["order-1", "order-2", "$$order-1"])
        same(seen(types=["$metadata"]), [])
        has(seen(types=["$metadata"], include_system_events=True), "$$order-1")
        code, words, outcome = failure(lambda: read(server, filter=v1.Filter(type_regex="(")))
        same((code, outcome), (CODE.INVALID_ARGUMENT, "invalid"))
        assert words


def test_as_of(stele):
    """as of a position or a time, later events do not exist, forwards, backwards and in streams"""
    with Server(stele) as server:
        first = append(server, one("a", "A1"), one("b", "B1"))
        time.sleep(0.01)
        between = time.time_ns() // 1000
        time.sleep(0.01)
        append(server, one("a", "A2"))
        append(server, one("new", "N1"))
        for bound in (dict(as_of=first.position_last), dict(as_of_us=between)):
            user = v1.Filter()
            same(types_of(read(server, filter=user, **bound)), ["A1", "B1"])
            same(types_of(read(server, stream="a", **bound)), ["A1"])
            same(types_of(read(server, stream="a", from_end=True, backwards=True, **bound)), ["A1"])
            same(types_of(read(server, filter=user, from_end=True, backwards=True, **bound)),
                 ["B1", "A1"])
            same(read(server, stream="new", **bound), [])
        same(read(server, filter=user, as_of_us=1), [])


def test_tokens(stele):
    """a read that is given the token of an append sees it, on whichever connection"""
    with Server(stele) as server:
        channels = [server.connect(**{"grpc.use_local_subchannel_pool": 1}) for _ in range(4)]
        stores = [Service(MESSAGES, channel, "stele.v1.EventStore") for channel in channels]
        for i in range(50):
            token = append(server, one("a", f"T{i}")).token
            request = v1.ReadRequest(stream="a", from_end=True, backwards=True, limit=1, token=token)
            for store in stores:
                events = [event for answer in store.Read(request) for event in answer.events]
                same(types_of(events), [f"T{i}"])
        for channel in channels:
            channel.close()
        code, words, outcome = failure(lambda: read(server, stream="a", token="none"))
        same((code, outcome), (CODE.INVALID_ARGUMENT, "invalid"))
        has(words, "token")


def test_many_reads_in_one_call(stele):
    """several reads are answered one after the other, each with its end, also if one of them fails"""
    with Server(stele) as server:
        put(server, "a", 3)
        put(server, "b", 2)
        reads = [v1.ReadRequest(stream="a"), v1.ReadRequest(stream="none"),
                 v1.ReadRequest(stream="b", token="bad"), v1.ReadRequest(stream="b", limit=1)]
        got, order = {}, []
        for answer in server.store.ReadMany(v1.ReadManyRequest(reads=reads)):
            got.setdefault(answer.correlation, []).extend(answer.events)
            order.append(answer.correlation)
        same(order, sorted(order))
        same({index: [event.stream for event in events] for index, events in got.items()},
             {0: ["a"] * 3, 1: [], 2: [], 3: ["b"]})
        (_, first), (_, second), (_, third), (_, fourth) = ends(server, reads=reads)
        same((first.outcome, second.no_stream, fourth.outcome), (v1.OUTCOME_OK, True, v1.OUTCOME_OK))
        same(third.outcome, v1.OUTCOME_INVALID)
        assert third.message
        code, _, outcome = failure(lambda: ends(server, reads=[v1.ReadRequest()] * 65))
        same((code, outcome), (CODE.INVALID_ARGUMENT, "limit"))
        code, _, outcome = failure(lambda: ends(server, reads=[]))
        same((code, outcome), (CODE.INVALID_ARGUMENT, "invalid"))


def test_large_reads(stele):
    """a hundred thousand events come in order and once, through messages of bounded size"""
    with Server(stele) as server:
        for _ in range(10):
            append(server, one("a", *["A"] * 10_000, data=b"0123456789"))
        expected, sizes = 0, []
        for answer in server.store.Read(v1.ReadRequest(stream="a")):
            sizes.append(answer.ByteSize())
            for event in answer.events:
                assert event.revision == expected
                expected += 1
        same(expected, 100_000)
        assert max(sizes) < 64 * 1024, max(sizes)


# ---- Asking and changing ----


def test_conditions(stele):
    """conditions tell the first event that matches, without appending"""
    with Server(stele) as server:
        first = append(server, one("a", "A", tags=["x"])).position_first
        second = append(server, one("b", "B", tags=["x", "y"])).position_first
        ask = [query(types=["A", "B"]), query(types=["A", "B"], after=first), query(tags=["x", "y"]),
               query(types=["A"], tags=["y"]), query(types=["C"]), query(types=["B"], after=second),
               v1.Condition(items=[v1.QueryItem(types=["C"]), v1.QueryItem(tags=["y"])])]
        answer = server.store.Conditions(v1.ConditionsRequest(conditions=ask))
        same(list(answer.conflicts), [first, second, second, 0, 0, 0, second])
        same(list(server.store.Conditions(v1.ConditionsRequest()).conflicts), [])
        code, _, outcome = failure(
            lambda: server.store.Conditions(v1.ConditionsRequest(conditions=ask * 10)))
        same((code, outcome), (CODE.INVALID_ARGUMENT, "limit"))


def test_names(stele):
    """streams, categories, types and tags are listed with counts, by prefix, page by page"""
    with Server(stele) as server:
        for i in range(5):
            append(server, one(f"order-{i}", *["Placed"] * (i + 1), tags=["x"]))
        append(server, one("bill-1", "Paid", tags=["y"]))

        def names(what, **request):
            return [(name.name, name.count) for answer in
                    server.store.Streams(v1.StreamsRequest(what=what, **request))
                    for name in answer.names if not name.name.startswith("$")]

        same(names(v1.NAMES_STREAMS),
             [("bill-1", 1), ("order-0", 1), ("order-1", 2), ("order-2", 3), ("order-3", 4),
              ("order-4", 5)])
        same(names(v1.NAMES_STREAMS, prefix="order-", after="order-1", limit=2),
             [("order-2", 3), ("order-3", 4)])
        same(names(v1.NAMES_CATEGORIES), [("bill", 1), ("order", 15)])
        same(names(v1.NAMES_TYPES), [("Paid", 1), ("Placed", 15)])
        same(names(v1.NAMES_TAGS), [("x", 15), ("y", 1)])
        same(names(v1.NAMES_STREAMS, prefix="none"), [])
        answer, = server.store.Streams(v1.StreamsRequest(info="order-4"))
        same((answer.info.revision_first, answer.info.revision_last, answer.info.deleted,
              answer.info.tombstoned), (0, 4, False, False))
        same(answer.info.position_last, read(server, stream="order-4")[-1].position)
        code, _, outcome = failure(lambda: server.store.Streams(v1.StreamsRequest(info="none")))
        same((code, outcome), (CODE.NOT_FOUND, "no-stream"))
        code, words, _ = failure(lambda: server.store.Streams(v1.StreamsRequest(what=4)))
        same(code, CODE.INVALID_ARGUMENT)


def test_metadata_and_deletion(stele):
    """metadata is set with an expectation and read back; deleted streams go on, tombstoned ones do not"""
    with Server(stele) as server:
        put(server, "a", 5)

        def meta(**request):
            return server.store.Meta(v1.MetaRequest(stream="a", **request))

        same(meta(get=True), v1.MetaResponse())
        same(meta(set=b'{"$maxCount":2}').result.outcome, v1.OUTCOME_OK)
        got = meta(get=True)
        same((got.found, got.json, got.revision), (True, b'{"$maxCount":2}', 0))
        same([event.revision for event in read(server, stream="a")], [3, 4])
        same([event.revision for event in read(server, stream="a", ignore_limits=True)],
             [0, 1, 2, 3, 4])
        wrong = meta(set=b"{}", expectation=v1.EXPECTATION_REVISION, expected_revision=7).result
        same((wrong.outcome, wrong.revision_last), (v1.OUTCOME_WRONG_REVISION, 0))
        same(meta(set=b"{}", expectation=v1.EXPECTATION_REVISION).result.outcome, v1.OUTCOME_OK)
        wrong = meta(soft_delete=True, expectation=v1.EXPECTATION_REVISION, expected_revision=1).result
        same((wrong.outcome, wrong.revision_last), (v1.OUTCOME_WRONG_REVISION, 4))
        same(meta(soft_delete=True).result.outcome, v1.OUTCOME_OK)
        same(ends(server, stream="a")[0][1].no_stream, True)
        same(append(server, one("a", "New")).revision_last, 5)
        same([event.revision for event in read(server, stream="a")], [5])
        same(meta(tombstone=True).result.outcome, v1.OUTCOME_OK)
        code, _, outcome = failure(lambda: read(server, stream="a"))
        same((code, outcome), (CODE.FAILED_PRECONDITION, "stream-deleted"))
        same(append(server, one("a", "Late")).outcome, v1.OUTCOME_STREAM_DELETED)
        for request in (v1.MetaRequest(stream="a"), v1.MetaRequest(get=True),
                        v1.MetaRequest(stream="a\0", get=True)):
            same(failure(lambda: server.store.Meta(request))[0], CODE.INVALID_ARGUMENT)


def test_administration(stele):
    """statistics, digests, verifying against one, and scavenging answer with what they found"""
    with Server(stele) as server:
        put(server, "a", 20)

        def admin(**deed):
            return list(server.store.Admin(v1.AdminRequest(**deed)))

        stats = admin(stats=True)[-1].stats
        assert stats.events >= 20 and stats.position_last and len(stats.store_id) == 16, stats
        digest = admin(digest=True)[-1].digest
        assert digest
        verified = admin(verify={"against": digest})[-1].verified
        same((verified.damages, verified.digest), (0, digest))
        assert verified.events >= 20
        assert admin(verify={})[-1].verified.frames
        server.store.Meta(v1.MetaRequest(stream="a", set=b'{"$maxCount":2}'))
        same(admin(scavenge={})[-1].HasField("scavenged"), True)
        for request in (v1.AdminRequest(), v1.AdminRequest(verify={"against": "x" * 300})):
            same(failure(lambda: server.store.Admin(request))[0], CODE.INVALID_ARGUMENT)


# ---- Calls ----


def test_bad_calls(stele):
    """bytes that are no message, no message and two, and methods that are not there end with a status"""
    raw = {"request_serializer": bytes, "response_deserializer": bytes}
    with Server(stele) as server:
        store = "/stele.v1.EventStore/"
        unary = ["Append", "Conditions", "Meta", "Groups", "ChangeGroup"]
        downward = ["Read", "ReadMany", "Streams", "Admin"]
        both = ["AppendEvents", "SubscribeToStream", "SubscribeToAll", "Consume"]
        for name in unary + downward + both:
            call = server.channel.stream_stream(store + name, **raw)
            for bad in (b"\xff", b"\x0a\x7f", b"\x0b", b"\x00\x01"):
                if name in ("Append", "AppendEvents"):
                    answer = v1.AppendResponse.FromString(next(call(iter([bad]))))
                    same(answer.outcome, v1.OUTCOME_INVALID)
                else:
                    code, words, outcome = failure(lambda: call(iter([bad])))
                    same((code, outcome), (CODE.INVALID_ARGUMENT, "invalid"))
                    assert words
            if name not in both:
                code, _, outcome = failure(lambda: call(iter([])))
                same((code, outcome), (CODE.INVALID_ARGUMENT, "invalid"))
        call = server.channel.stream_stream(store + "Append", **raw)
        good = v1.AppendRequest(streams=[one("a", "A")]).SerializeToString()
        same(failure(lambda: call(iter([good, good])))[0], CODE.INVALID_ARGUMENT)
        for path in (store + "Nothing", "/stele.v2.EventStore/Append", "/x/y"):
            same(failure(lambda: server.channel.unary_unary(path, **raw)(b""))[0], CODE.UNIMPLEMENTED)


def test_zipped_calls(stele):
    """requests zipped by the client are understood"""
    with Server(stele) as server:
        same(append(server, one("a", "A", data=b"x" * 100_000), compression=grpc.Compression.Gzip)
             .outcome, v1.OUTCOME_OK)
        same(len(read(server, stream="a")[0].data), 100_000)


def test_deadlines_and_cancelling(stele):
    """a deadline or a cancelled call ends it on both sides, and the connection serves the next one"""
    with Server(stele) as server:
        put(server, "a", 10)
        start = [v1.SubscribeRequest(start=v1.Start())]
        hold = threading.Event()

        def forever():
            yield from start
            hold.wait(60)

        code, _, _ = failure(lambda: server.store.SubscribeToAll(forever(), timeout=0.3))
        same(code, CODE.DEADLINE_EXCEEDED)
        before = server.memory()
        for _ in range(100):
            call = server.store.SubscribeToAll(iter(start))
            next(call)
            call.cancel()
            same(failure(lambda: call)[0], CODE.CANCELLED)
        # On a busy machine an answer may overtake the client's own clock, though not every time.
        outcomes = set()
        for _ in range(20):
            try:
                append(server, one("a", "A"), timeout=1e-9)
                outcomes.add(CODE.OK)
            except grpc.RpcError as error:
                outcomes.add(error.code())
        assert CODE.DEADLINE_EXCEEDED in outcomes, outcomes
        assert outcomes <= {CODE.OK, CODE.DEADLINE_EXCEEDED}, outcomes
        same(append(server, one("a", "A"), timeout=300).outcome, v1.OUTCOME_OK)
        grown = server.memory() - before
        assert SANITIZED or grown < 8_000, grown
        hold.set()


def test_rights(stele):
    """without credentials a secure server lets nobody append or administrate; with them it does"""
    with Server(stele, secure=True) as server:
        wait_until(lambda: "password" in server.output, 30)
        for call in (lambda: append(server, one("a", "A")),
                     lambda: server.store.Groups(v1.GroupsRequest()),
                     lambda: server.store.Admin(v1.AdminRequest(stats=True))):
            try:
                answer = call()
                answer = answer if isinstance(answer, v1.AppendResponse) else list(answer)[0]
                same(answer.outcome, v1.OUTCOME_PERMISSION)
            except grpc.RpcError as error:
                assert error.code() in (CODE.PERMISSION_DENIED, CODE.UNAUTHENTICATED), error


if __name__ == "__main__":
    main(sys.modules[__name__])
