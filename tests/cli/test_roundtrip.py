"""What is exported and imported again is the same: streams, ids, times, data, metadata, tags, order.

Method: a store with everything that is hard (binary data, odd spelling of JSON, text, strange
names, limits, deleted and closed streams) goes through export and import, as JSON lines and as
CloudEvents; imports are cut off, repeated, cut into other pieces.
"""

import base64
import json
import random
import signal
import subprocess
import sys

from harness import HANGS, ID, Stele, has, main, same, wait_until

ODD = [
    {"type": "Binary", "content_type": "application/octet-stream",
     "data_base64": base64.b64encode(bytes(range(256))).decode()},
    {"type": "Empty"},
    {"type": "EmptyBinary", "content_type": "application/octet-stream"},
    {"type": "NoJson", "data_base64": base64.b64encode(b"{not json").decode()},
    {"type": "NoUtf8", "data_base64": base64.b64encode(b'"\xff"').decode()},
    {"type": "Huge", "data_base64": base64.b64encode(b"1e999").decode()},
    {"type": "LineEnds", "data_base64": base64.b64encode(b'{\n  "a":\r\n 1\n}\n').decode()},
    {"type": "Text", "content_type": "text/plain; charset=utf-8", "data": "line 1\nline \x00 2 \u2028"},
    {"type": "TextBase64", "content_type": "text/plain",
     "data_base64": base64.b64encode(b"latin \xe9").decode()},
    {"type": "Xml", "content_type": "image/svg+xml", "data": "<a>&</a>"},
    {"type": "Vendor", "content_type": "application/vnd.x+json", "data": {"a": [1, None]}},
    {"type": "Ünïcode 😀", "data": "😀\u202e", "tags": ["ä", "b c", 'q"', "\u20ac"]},
    {"type": "Meta", "metadata": {"a": 1}, "data": 1},
    {"type": "MetaBinary", "metadata_base64": base64.b64encode(b"\x00\x01").decode()},
    {"type": "OldTime", "created": "1901-02-03T04:05:06.789012Z"},
    {"type": "FutureTime", "created": "9999-12-31T23:59:59.999999Z"},
    {"type": "FarTime", "created": 253402300800000001},
    {"type": "BeforeChrist", "created": -99999999999999999},
    {"type": "Tags", "tags": [f"t{i}" for i in range(32)]},
]

SPELLED = [
    '{"n": 1.50, "big": 123456789012345678901234567890, "e": 1E5, "z": -0.0}',
    '{"twice": 1, "twice": 2}',
    '  [ 1 ,\t2 ]  ',
    ' [1]',
    '[1] ',
    '"\\u0041\\/\\ud83d\\ude00\\u0000"',
    'null',
    '""',
    '[[[[[[[[]]]]]]]]',
    '{"\x7f": "\x7f"}',
]


def odd_store(s, store="a"):
    events = [{"stream": f"odd-{i % 5}", "id": ID % i, **event} for i, event in enumerate(ODD)]
    s.lines("odd", events)
    s.run("import", "odd", "--store", store)
    for i, data in enumerate(SPELLED):
        s.run("append", "strange $ name\\ 100% 😀", "--type", "S", "--data", data, "--store", store)
        s.run("append", "--type", "S", "--metadata", data, "--id", ID % (100 + i), "--store", store,
              "--", f"-{i}")


def seen(s, store, *args):
    """Everything that a program can know about the events, without what an import gives anew."""
    events = []
    for line in s.run("export", "--store", store, *args).lines:
        event = json.loads(line)
        del event["position"]
        # Numbers as they are spelled: the parser would make the same of different texts.
        event["line"] = line.split('"id":', 1)[1]
        events.append(event)
    return events


def test_export_import(s: Stele):
    """import(export) is the same, and its export is the same text but for positions"""
    odd_store(s)
    s.shell("stele export --store a | stele import --store b")
    same(seen(s, "b"), seen(s, "a"))
    names = json.loads("[" + ",".join(s.run("streams", "--json", "--store", "a").lines) + "]")
    same(s.run("streams", "--json", "--store", "b").json, names)
    for event in s.run("read", "$all", "--store", "a", "--json").json:
        args = ["read", "--from", str(event["revision"]), "--limit", "1", "--raw", "--"]
        stream = event["stream"]
        same(s.run(*args, stream, env={"STELE_STORE": "b"}).raw_out,
             s.run(*args, stream, env={"STELE_STORE": "a"}).raw_out)


def test_the_odd_events_survive_at_all(s: Stele):
    """what the store with odd events has is what was put in"""
    odd_store(s)
    got = {event["id"]: event for event in s.run("export", "--store", "a").json}
    for i, event in enumerate(ODD):
        stored = got[ID % i]
        for member in ("type", "data", "data_base64", "metadata", "metadata_base64", "tags",
                       "content_type"):
            same((event["type"], member, stored.get(member)), (event["type"], member, event.get(member)))
    same(got[ID % 14]["created"], "1901-02-03T04:05:06.789012Z")
    same(got[ID % 15]["created"], "9999-12-31T23:59:59.999999Z")
    same(got[ID % 16]["created"], 253402300800000001)
    lines = s.run("export", "--store", "a", "--type", "S").out
    for data in SPELLED:
        if data == data.strip():
            has(lines, '"data":' + data)
            has(lines, '"metadata":' + data)
        else:
            encoded = base64.b64encode(data.encode()).decode()
            has(lines, f'"data_base64":"{encoded}"')
            has(lines, f'"metadata_base64":"{encoded}"')


def test_cloudevents(s: Stele):
    """import(export --cloudevents) is the same"""
    odd_store(s)
    s.shell("stele export --cloudevents --store a | stele import --store b")
    # Years that RFC 3339 cannot say are left out of a CloudEvent.
    def without_far_times(store):
        return [event for event in seen(s, store) if event["type"] not in ("FarTime", "BeforeChrist")]
    same(without_far_times("b"), without_far_times("a"))


def test_cloudevents_are_valid(s: Stele):
    """every exported CloudEvent has what version 1.0 asks for"""
    import re
    odd_store(s)
    for event in s.run("read", "$all", "--store", "a", "--cloudevents").json:
        same(event["specversion"], "1.0")
        for name in ("id", "source", "type"):
            assert isinstance(event[name], str) and event[name], event
        # RFC 3986: the characters of a URI reference.
        assert re.fullmatch(r"(?:[A-Za-z0-9\-._~:/?#@!$&'()*+,;=]|%[0-9A-F]{2})+", event["source"])
        for name, value in event.items():
            if name not in ("data", "data_base64"):
                assert re.fullmatch("[a-z0-9]+", name), name
                assert isinstance(value, (str, bool, int)), (name, value)
        assert not ("data" in event and "data_base64" in event)
        assert int(event["revision"]) >= 0 and int(event["position"]) > 0


def test_foreign_cloudevents(s: Stele):
    """a foreign CloudEvent keeps id, subject, extensions; the same one is stored once"""
    foreign = {
        "specversion": "1.0", "id": "A234-1234-1234", "source": "https://x.example/a%20b?q=1",
        "type": "com.example.someevent", "subject": "mynewfile.jpg",
        "time": "2018-04-05T17:31:00Z", "dataschema": "https://x.example/schema",
        "comexampleextension1": "value", "comexampleothervalue": 5, "flag": True,
        "datacontenttype": "application/json", "data": {"appinfoA": "abc"},
    }
    s.lines("in", [foreign, {**foreign, "id": "other", "source": "s2", "datacontenttype": "text/xml",
                             "data": "<x/>", "time": "2018-04-05T17:31:00.5+02:00"}])
    has(s.run("import", "in").out, "imported 2 events")
    has(s.run("import", "in").out, "2 more were there already")
    shown = s.run("read", "$all", "--cloudevents")
    first, second = shown.json
    same([line.count('"id":') for line in shown.lines], [1, 1])
    for name, value in foreign.items():
        if name not in ("time", "source"):
            same((name, first[name]), (name, value))
    same(first["source"], "https://x.example/a%20b?q=1")
    same(first["time"], "2018-04-05T17:31:00.000000Z")
    same((second["id"], second["data"]), ("other", "<x/>"))
    assert "metadata" not in first
    stored = s.run("read", "https://x.example/a b?q=1", "--json").json[0]
    same(stored["metadata"]["cloudevents"]["subject"], "mynewfile.jpg")
    # And once more around, as CloudEvents and as JSON lines.
    s.shell("stele export --cloudevents | stele import --store b")
    s.shell("stele export | stele import --store c")
    def events(store):
        return [{name: value for name, value in event.items() if name != "position"}
                for event in s.run("read", "$all", "--cloudevents", "--store", store).json]
    same(events("b"), events("stele-data"))
    same(events("c"), events("stele-data"))


def test_order(s: Stele):
    """import keeps the order of the lines, also across streams"""
    rng = random.Random(3)
    events = [{"stream": f"s-{rng.randrange(12)}", "type": "T", "id": "01234567-89ab-7def-8123-%012x" % i,
               "data": i} for i in range(3000)]
    s.lines("in", events)
    s.run("import", "in")
    same([event["data"] for event in s.run("read", "$all", "--json").json], list(range(3000)))


def test_repeated_import(s: Stele):
    """an import that is repeated, in the same or other pieces, or longer, adds what is missing"""
    rng = random.Random(5)
    events = [{"stream": f"s-{rng.randrange(7)}", "type": "T",
               "id": "01234567-89ab-7def-8123-%012x" % i, "data": i} for i in range(1000)]
    s.lines("part", events[:613])
    s.lines("all", events)
    s.lines("grouped", sorted(events, key=lambda event: event["stream"]))
    has(s.run("import", "part").out, "imported 613 events")
    for args in (["--batch", "1"], ["--batch", "7"], []):
        has(s.run("import", "part", *args).out, "imported 0 events")
    has(s.run("import", "all").out, "imported 387 events into 7 streams, 613 more")
    has(s.run("import", "grouped").out, "imported 0 events")
    has(s.run("import", "grouped", "--batch", "13").out, "imported 0 events")
    same([event["data"] for event in s.run("read", "$all", "--json").json], list(range(1000)))


def test_failed_import(s: Stele):
    """when an event cannot be stored, no later event of its stream is, so that order survives"""
    events = [{"stream": f"s-{i % 3}", "type": "T", "data": i,
               "id": "01234567-89ab-7def-8123-%012x" % i} for i in range(300)]
    bad = [dict(event) for event in events]
    bad[100]["tags"] = [f"t{i}" for i in range(33)]
    s.lines("bad", bad)
    s.lines("good", events)
    for _ in range(2):
        has(s.run("import", "bad", code=8).err, "stele: bad:101: ")
        got = [event["data"] for event in s.run("read", "s-1", "--json").json]
        same(got, list(range(1, 100, 3)))
    s.run("import", "good")
    for stream in range(3):
        same([event["data"] for event in s.run("read", f"s-{stream}", "--json").json],
             list(range(stream, 300, 3)))


def test_killed_import(s: Stele):
    """an import that is killed in the middle and repeated is complete, in order, without doubles"""
    events = [{"stream": f"s-{i % 9}", "type": "T", "id": "01234567-89ab-7def-8123-%012x" % i,
               "data": i} for i in range(2000)]
    s.lines("in", events)
    for count in (200, 700, 1500):
        process = s.start("import", "-", stdin=subprocess.PIPE)
        for event in events[:count]:
            process.stdin.write(json.dumps(event).encode() + b"\n")
        process.stdin.flush()
        if count == 700:
            wait_until(lambda: len(s.run("read", "$all", code=None).lines) >= 500)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    s.run("import", "in")
    same([event["data"] for event in s.run("read", "$all", "--json").json], list(range(2000)))
    s.run("verify")


def test_interrupted_import(s: Stele):
    """Ctrl-C ends an import with 130 and says how to go on; what it took in is stored"""
    s.append("x", "T")
    process = s.start("import", "-", stdin=subprocess.PIPE)
    process.stdin.write(b'{"stream":"a","type":"T","id":"%s"}\n' % (ID % 1).encode())
    process.stdin.flush()
    # It does not wait for the next line before it stores this one.
    wait_until(lambda: s.run("read", "a", code=None).out)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=HANGS)
    same(process.returncode, 130)
    has(err.decode(), "run the same command again")
    has(out.decode(), "imported 1 events")
    same(len(s.run("read", "a").lines), 1)


def test_limits_and_deleted_streams(s: Stele):
    """metadata, deleted and closed streams are the same after export and import"""
    for stream in ("limited-1", "deleted-1", "again-1", "closed-1"):
        s.append(stream, *"ABCDE")
    s.run("meta", "limited-1", "set", '{"$maxCount": 2, "owner": "ada"}')
    s.run("delete", "deleted-1")
    s.run("delete", "again-1")
    s.append("again-1", "F")
    s.run("delete", "closed-1", "--tombstone")
    s.shell("stele export | stele import --store b")
    has(s.shell("stele export | stele import --store b").out, "imported 0 events")
    for store in ("stele-data", "b"):
        at = ["--store", store]
        same([e["type"] for e in s.run("read", "limited-1", "--json", *at).json], ["D", "E"])
        s.run("read", "deleted-1", *at, code=5)
        same([e["revision"] for e in s.run("read", "again-1", "--json", *at).json], [5])
        s.run("append", "closed-1", "--type", "T", *at, code=5)
        same(s.run("meta", "limited-1", *at).json, [{"$maxCount": 2, "owner": "ada"}])


def test_scavenged_streams(s: Stele):
    """a stream whose beginning was scavenged is visible after export and import"""
    s.lines("in", [{"stream": f"big-{i % 2}", "type": "T", "data": "x" * 10000}
                   for i in range(1200)])
    s.run("import", "in")
    s.run("meta", "big-0", "--truncate-before", "590")
    s.run("delete", "big-1")
    assert s.run("scavenge", "--json").json[0]["events_removed"] > 100
    s.append("big-1", "New")
    s.shell("stele export | stele import --store b")
    same([e["type"] for e in s.run("read", "big-1", "--store", "b", "--json").json], ["New"])
    same(len(s.run("read", "big-0", "--store", "b").lines), 10)
    same([e["id"] for e in s.run("read", "big-0", "--store", "b", "--json").json],
         [e["id"] for e in s.run("read", "big-0", "--json").json])


def test_partial_exports(s: Stele):
    """exports by time, position and filter go together again"""
    s.append("order-1", "A", "B")
    middle = s.run("read", "$all", "--json").json[-1]["position"]
    s.append("user-1", "C")
    s.append("order-1", "D")
    s.shell(f"stele export --as-of {middle} | stele import --store b")
    same(len(s.run("read", "$all", "--store", "b").lines), 2)
    s.shell(f"stele export --from {int(middle) + 1} | stele import --store b")
    same([e["type"] for e in s.run("read", "$all", "--store", "b", "--json").json],
         ["A", "B", "C", "D"])
    same([e["type"] for e in s.run("export", "--category", "order").json], ["A", "B", "D"])
    same([e["type"] for e in s.run("export", "--category", "order", "--limit", "1").json], ["A"])


def test_the_epoch(s: Stele):
    """a time of exactly 1970 is kept to a microsecond and does not become the present"""
    for created in ('"1970-01-01T00:00:00Z"', "0"):
        s.run("import", stdin='{"stream":"a","type":"T","created":%s}' % created)
        event = s.run("read", "a", "--backwards", "--limit", "1", "--json").json[0]
        same(event["created"], "1970-01-01T00:00:00.000001Z")


def test_exact_data_in_any_batch(s: Stele):
    """append from lines and import store the same bytes"""
    line = '{"type":"T","data": {"a" :1.0} , "metadata": [ ]}'
    s.run("append", "a", stdin=line)
    s.run("import", stdin=line.replace('"type"', '"stream":"b","type"'))
    for stream in "ab":
        same(s.run("read", stream, "--raw").out, '{"a" :1.0}')
        has(s.run("read", stream, "--json").out, '"metadata":[ ]')


def test_many_streams(s: Stele):
    """more streams than the import remembers, twice"""
    with open(s.path("in"), "w") as file:
        for i in range(120000):
            file.write('{"stream":"s-%d","type":"T","id":"01234567-89ab-7def-8123-%012x"}\n' % (i, i))
    same(s.run("import", "in").out, "imported 120000 events\n")
    same(s.run("import", "in").out, "imported 0 events, 120000 more were there already\n")
    same(s.run("info", "--json").json[0]["events"], 120000)


main(sys.modules[__name__])
