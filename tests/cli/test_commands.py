"""Every command does what its help says.

Method: each test runs a command on a small store and looks at all of its output, once as text and
once as JSON.
"""

import json
import re
import subprocess
import sys

from harness import HANGS, ID, Stele, has, hasnt, interrupt, main, same, wait_until


def test_first_append_creates_the_store(s: Stele):
    """the first append creates the store and says so"""
    ended = s.run("append", "order-1", "--type", "OrderPlaced", "--data", '{"total": 5}')
    assert re.fullmatch(r"order-1: revision 0, position \d+\n", ended.out), ended.out
    same(ended.err, "stele: created the store stele-data\n")
    same(s.run("append", "order-1", "--type", "OrderPaid").err, "")


def test_append_json(s: Stele):
    """append --json prints revisions, positions as strings, token and ids"""
    (result,) = s.run("append", "a", "--type", "T", "--id", ID % 1, "--json").json
    same(result["stream"], "a")
    same((result["count"], result["revision_first"], result["revision_last"]), (1, 0, 0))
    same(result["idempotent"], False)
    same(result["ids"], [ID % 1])
    assert int(result["position_first"]) == int(result["position_last"]) > 1 << 53
    assert result["token"]


def test_append_event_parts(s: Stele):
    """append stores type, data, metadata, tags, id, time and content type"""
    s.run("append", "a", "--type", "T", "--data", '{"n": 1.50}', "--metadata", '{"by": "ada"}',
          "--tag", "x", "--tag", "y", "--id", ID % 1, "--created", "2026-01-02T03:04:05.678901+01:00")
    s.write("picture", bytes(range(256)))
    s.run("append", "a", "--type", "P", "--data-file", "picture", "--content-type", "image/png")
    s.run("append", "a", "--type", "Q", "--data-file", "-", "--content-type", "text/plain",
          stdin="hello\n")
    first, second, third = s.run("read", "a", "--json").json
    same(first["id"], ID % 1)
    same(first["created"], "2026-01-02T02:04:05.678901Z")
    same((first["data"], first["metadata"], first["tags"]), ({"n": 1.5}, {"by": "ada"}, ["x", "y"]))
    has(s.run("read", "a", "--limit", "1", "--json").out, '"data":{"n": 1.50}')
    assert "content_type" not in first
    same(second["content_type"], "image/png")
    assert second["data_base64"].startswith("AAECAwQF")
    same((third["content_type"], third["data"]), ("text/plain", "hello\n"))
    same(s.run("read", "a", "--from", "1", "--limit", "1", "--raw").raw_out, bytes(range(256)))


def test_append_expect(s: Stele):
    """append --expect none, exists, any and a revision are checked"""
    s.run("append", "a", "--type", "T", "--expect", "exists", code=3)
    s.run("append", "a", "--type", "T", "--expect", "0", code=3)
    s.run("append", "a", "--type", "T", "--expect", "none")
    s.run("append", "a", "--type", "T", "--expect", "none", code=3)
    s.run("append", "a", "--type", "T", "--expect", "0")
    s.run("append", "a", "--type", "T", "--expect", "exists")
    s.run("append", "a", "--type", "T", "--expect", "any")
    failed = s.run("append", "a", "--type", "T", "--expect", "1", "--json", code=3).failure
    same((failed["error"], failed["expected"], failed["actual"]), ("wrong-revision", 1, 3))
    same(len(s.run("read", "a").lines), 4)


def test_append_again(s: Stele):
    """an append that is repeated with the same id is stored once"""
    first = s.run("append", "a", "--type", "T", "--id", ID % 1, "--json").json[0]
    again = s.run("append", "a", "--type", "T", "--id", ID % 1, "--json").json[0]
    same((again["idempotent"], again["position_last"]), (True, first["position_last"]))
    has(s.run("append", "a", "--type", "T", "--id", ID % 1).out, "(stored before)")
    same(len(s.run("read", "a").lines), 1)


def test_append_conditions(s: Stele):
    """append conditions: type, tag, both, alternatives, after a position"""
    position = s.run("append", "a", "--type", "T", "--tag", "x", "--tag", "y", "--json").json[0]
    after = ["--after", position["position_last"]]
    refused = s.run("append", "b", "--type", "U", "--fail-if-type", "T", "--json", code=3).failure
    same(refused["error"], "condition-failed")
    same(refused["position"], position["position_last"])
    s.run("append", "b", "--type", "U", "--fail-if-tag", "x", "--fail-if-tag", "y", code=3)
    s.run("append", "b", "--type", "U", "--fail-if-tag", "x", "--fail-if-tag", "z")
    s.run("append", "b", "--type", "U", "--fail-if-type", "V", "--fail-if-tag", "x")
    s.run("append", "b", "--type", "U", "--fail-if-type", "T", *after)
    alternatives = '[{"types": ["N"]}, {"types": ["T"], "tags": ["y"]}]'
    s.run("append", "b", "--type", "U", "--fail-if", alternatives, code=3)
    s.run("append", "b", "--type", "U", "--fail-if", alternatives, *after)


def test_append_lines(s: Stele):
    """append without --type takes JSON lines, in one append if they are at hand"""
    lines = "".join(json.dumps({"type": "T", "data": i}) + "\n" for i in range(10))
    ended = s.run("append", "a", stdin=lines)
    has(ended.out, "a: 10 events, revisions 0 to 9, position ")
    same([event["data"] for event in s.run("read", "a", "--json").json], list(range(10)))
    empty = s.run("append", "a", stdin="\n  \n")
    same(empty.out, "")
    has(empty.err, "no events")


def test_append_batch(s: Stele):
    """append --batch N makes appends of N lines, and one of the rest"""
    lines = "".join(json.dumps({"type": "T"}) + "\n" for _ in range(10))
    results = s.run("append", "a", "--batch", "4", "--json", stdin=lines).json
    same([r["count"] for r in results], [4, 4, 2])
    same([r["revision_first"] for r in results], [0, 4, 8])
    # The expectation is about the first one; later ones follow it.
    s.run("append", "b", "--batch", "4", "--expect", "none", stdin=lines)
    s.run("append", "b", "--batch", "4", "--expect", "none", stdin=lines, code=3)


def test_append_lines_from_a_pipe_at_once(s: Stele):
    """append from a pipe stores a line without waiting for the next one"""
    process = s.start("append", "a", "--json", stdin=subprocess.PIPE)
    for revision in range(2):
        process.stdin.write(b'{"type":"T"}\n')
        process.stdin.flush()
        same(json.loads(process.stdout.readline())["revision_last"], revision)
    process.stdin.close()
    same(process.wait(), 0)


def test_append_bad_line_stores_what_came_before(s: Stele):
    """append keeps the batches before a bad line and nothing of its own batch"""
    lines = '{"type":"A"}\n{"type":"B"}\n{"type":"C"}\n{"type":3}\n'
    ended = s.run("append", "a", "--batch", "2", stdin=lines, code=9)
    has(ended.out, "a: 2 events")
    has(ended.err, 'standard input:4: "type" is no string')
    same(len(s.run("read", "a").lines), 2)


def test_read_ranges(s: Stele):
    """read --from, --limit, --backwards choose revisions"""
    s.append("a", *"ABCDE")

    def types(*args):
        return "".join(event["type"] for event in s.run("read", "a", "--json", *args).json)

    same(types(), "ABCDE")
    same(types("--from", "2"), "CDE")
    same(types("--from", "2", "--limit", "2"), "CD")
    same(types("--backwards"), "EDCBA")
    same(types("--backwards", "--from", "2"), "CBA")
    same(types("--backwards", "--limit", "1"), "E")
    same(types("--from", "start"), "ABCDE")
    same(types("--from", "99"), "")


def test_read_text(s: Stele):
    """read prints aligned lines: revision, time, type, data"""
    s.run("append", "a", "--type", "Short", "--data", "1")
    s.run("append", "a", "--type", "RatherLong", "--data", '{"a":\n "b"}')
    s.run("append", "a", "--type", "Nothing")
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    lines = s.run("read", "a").lines
    assert re.fullmatch(rf"0  {time}  Short       1", lines[0]), lines[0]
    assert re.fullmatch(rf'1  {time}  RatherLong  {{"a":  "b"}}', lines[1]), lines[1]
    assert re.fullmatch(rf"2  {time}  Nothing", lines[2]), lines[2]


def test_read_long(s: Stele):
    """read --long shows everything about an event"""
    s.run("append", "a", "--type", "T", "--data", "1", "--metadata", '{"m":2}', "--tag", "x",
          "--id", ID % 9)
    out = s.run("read", "a", "--long").out
    for part in ("a@0  T\n", "position ", ID % 9, "created ", "application/json", "tag          x",
                 "data         1", 'metadata     {"m":2}'):
        has(out, part)


def test_read_all_and_views(s: Stele):
    """read $all, $ce-…, $et-… hand out several streams in the order of positions"""
    s.append("order-1", "Placed")
    s.append("user-1", "Joined")
    s.append("order-2", "Placed", "Paid")

    def names(*args):
        events = s.run("read", "--json", *args).json
        positions = [int(event["position"]) for event in events]
        same(positions, sorted(positions))
        return [f'{event["stream"]}@{event["revision"]}' for event in events]

    same(names("$all"), ["order-1@0", "user-1@0", "order-2@0", "order-2@1"])
    same(names("$ce-order"), ["order-1@0", "order-2@0", "order-2@1"])
    same(names("$et-Placed"), ["order-1@0", "order-2@0"])
    same(names("$all", "--limit", "2"), ["order-1@0", "user-1@0"])
    same(names("$all", "--from", "end"), [])
    has(s.run("read", "$all").out, "order-2@1")


def test_read_filters(s: Stele):
    """read filters: type, prefix, regex, stream, stream-prefix, stream-regex, category, tag"""
    s.run("append", "order-1", "--type", "OrderPlaced", "--tag", "x")
    s.run("append", "order-2", "--type", "OrderPaid", "--tag", "x", "--tag", "y")
    s.run("append", "user-1", "--type", "UserJoined", "--tag", "y")
    s.run("meta", "user-1", "--max-count", "10")

    def types(*args):
        return [event["type"] for event in s.run("read", "$all", "--json", *args).json]

    same(types("--type", "OrderPaid", "--type", "UserJoined"), ["OrderPaid", "UserJoined"])
    same(types("--prefix", "Order"), ["OrderPlaced", "OrderPaid"])
    same(types("--regex", "ed$"), ["OrderPlaced", "UserJoined"])
    same(types("--stream", "order-2"), ["OrderPaid"])
    same(types("--stream-prefix", "order-"), ["OrderPlaced", "OrderPaid"])
    same(types("--stream-regex", "-1$", "--exclude-system"), ["OrderPlaced", "UserJoined"])
    same(types("--category", "user"), ["UserJoined"])
    same(types("--tag", "x", "--tag", "y"), ["OrderPaid"])
    same(types("--exclude-system"), ["OrderPlaced", "OrderPaid", "UserJoined"])
    same(types("--category", "order", "--tag", "y"), ["OrderPaid"])
    assert "$metadata" in types()


def test_read_as_of(s: Stele):
    """read --as-of takes a position or a time"""
    s.append("a", "A", "B")
    first, second = s.run("read", "a", "--json").json
    same(len(s.run("read", "a", "--as-of", first["position"]).lines), 1)
    same(len(s.run("read", "$all", "--as-of", second["position"]).lines), 2)
    same(len(s.run("read", "a", "--as-of", "2026-01-01T00:00:00Z").lines), 0)
    same(len(s.run("read", "a", "--as-of", "2088-01-01T00:00:00+02:00").lines), 2)
    same(len(s.run("read", "a", "--as-of", "1999-01-01T00:00:00Z").lines), 0)


def test_read_from_time(s: Stele):
    """read --from takes a time for $all and refuses it for a stream"""
    s.append("a", "A", "B")
    same(len(s.run("read", "$all", "--from", "2088-01-01T00:00:00Z").lines), 0)
    same(len(s.run("read", "$all", "--from", "2020-01-01T00:00:00Z").lines), 2)
    same(len(s.run("read", "$all", "--from", "2019-01-01T00:00:00Z").lines), 2)
    same(len(s.run("read", "$all", "--backwards", "--from", "2088-01-01T00:00:00Z").lines), 2)
    has(s.run("read", "a", "--from", "2020-01-01T00:00:00Z", code=2).err, "--as-of takes a time")
    # The moment of an event is inclusive in both directions.
    event = s.run("read", "a", "--limit", "1", "--json").json[0]
    moment = (int(event["position"]) >> 22) / 1000 + 1577836800
    import datetime
    time = datetime.datetime.fromtimestamp(moment, datetime.timezone.utc).isoformat("T", "milliseconds")
    has(s.run("read", "$all", "--from", time, "--limit", "1").out, "a@0")
    has(s.run("read", "$all", "--backwards", "--from", time).out, "a@0")


def test_read_token(s: Stele):
    """read --token takes the token of an append"""
    token = s.run("append", "a", "--type", "T", "--json").json[0]["token"]
    same(len(s.run("read", "a", "--token", token).lines), 1)
    s.run("read", "a", "--token", "nonsense", code=2)


def test_store_before_the_command(s: Stele):
    """--store and --json may stand before the command, and -s PATH is --store"""
    s.run("--store", "x", "append", "a", "--type", "T")
    same(len(s.run("-s", "x", "--json", "read", "a").json), 1)
    same(len(s.run("read", "a", "-sx").lines), 1)
    same(len(s.run("--store=x", "read", "a").lines), 1)
    same(len(s.run("read", "a", env={"STELE_STORE": "x"}).lines), 1)
    s.run("read", "a", code=5)


def test_streams(s: Stele):
    """streams lists names with counts, by prefix, in pieces; categories, types, tags"""
    s.append("order-1", "Placed", "Paid")
    s.append("order-2", "Placed")
    s.run("append", "user-1", "--type", "Joined", "--tag", "name:ada")
    same(s.run("streams").out, "order-1  2\norder-2  1\nuser-1   1\n")
    same(s.run("streams", "order-", "--json").json,
         [{"name": "order-1", "events": 2}, {"name": "order-2", "events": 1}])
    same(s.run("streams", "--after", "order-1", "--limit", "1").out, "order-2  1\n")
    same([x["name"] for x in s.run("streams", "--categories", "--json").json], ["order", "user"])
    same(s.run("streams", "--types", "P", "--json").json,
         [{"name": "Paid", "events": 1}, {"name": "Placed", "events": 2}])
    same(s.run("streams", "--tags").out, "name:ada  1\n")
    s.run("streams", "--tags", "--types", code=2)


def test_streams_many(s: Stele):
    """streams lists more names than it keeps back for aligning"""
    s.lines("in", [{"stream": f"stream-with-a-rather-long-name-{i:05}", "type": "T"}
                   for i in range(3000)])
    s.run("import", "in")
    lines = s.run("streams").lines
    same(len(lines), 3000)
    same(lines[0], "stream-with-a-rather-long-name-00000  1")
    same(lines[-1], "stream-with-a-rather-long-name-02999  1")


def test_info(s: Stele):
    """info shows the store; info STREAM a stream with its metadata"""
    s.append("a", "A", "B")
    (facts,) = s.run("info", "--json").json
    same((facts["events"], facts["streams"], facts["partitions"]), (2, 1, 128))
    same(facts["path"], "stele-data")
    has(s.run("info").out, "partitions        128\n")
    s.run("meta", "a", "--max-count", "1")
    (stream,) = s.run("info", "a", "--json").json
    same((stream["revision_first"], stream["revision_last"]), (1, 1))
    same((stream["deleted"], stream["tombstoned"]), (False, False))
    same(stream["metadata"], {"$maxCount": 1})
    has(s.run("info", "a").out, 'metadata          {"$maxCount":1}\n')
    s.run("info", "b", code=5)
    s.run("info", "$all", code=2)


def test_meta(s: Stele):
    """meta shows, replaces and edits metadata"""
    s.append("a", *"ABCDE")
    s.run("meta", "a", code=5)
    same(s.run("meta", "a", "--max-age", "7d", "--max-count", "3").json,
         [{"$maxAge": 604800, "$maxCount": 3}])
    same(len(s.run("read", "a").lines), 3)
    same(len(s.run("read", "a", "--ignore-limits").lines), 5)
    same(s.run("meta", "a", "--max-age", "none", "--truncate-before", "4").json,
         [{"$maxCount": 3, "$tb": 4}])
    same(len(s.run("read", "a").lines), 1)
    same(s.run("meta", "a", "set", '{"owner":"ada"}').json, [{"owner": "ada"}])
    same(len(s.run("read", "a").lines), 5)
    same(s.run("meta", "a", "--cache-control", "1h", "--acl", '{"$r":"ada"}').json,
         [{"owner": "ada", "$cacheControl": 3600, "$acl": {"$r": "ada"}}])
    (shown,) = s.run("meta", "a", "get", "--json").json
    same((shown["stream"], shown["revision"]), ("a", 3))
    s.run("meta", "a", "set", "{}", "--expect", "2", code=3)
    s.run("meta", "a", "set", "{}", "--expect", "3")
    s.run("meta", "a", "set", '{"$maxCount": -1}', code=2)
    s.run("meta", "a", "set", '{"$maxCount"', code=9)
    s.run("meta", "a", "set", "[]", code=9)
    s.run("meta", "a", "--acl", "{", code=9)
    s.run("meta", "a", "get", "--max-count", "1", code=2)
    s.run("meta", "a", "put", "{}", code=2)
    s.run("meta", "a", "set", code=2)
    s.run("meta", "a", "--max-count", "99999999999999999999", code=2)


def test_delete(s: Stele):
    """delete hides a stream until the next append; --tombstone closes it"""
    s.append("a", "A", "B")
    s.run("delete", "a", "--expect", "0", code=3)
    has(s.run("delete", "a", "--expect", "1").out, "a: deleted, position ")
    s.run("read", "a", code=5)
    same(s.run("info", "a", "--json").json[0]["deleted"], True)
    s.append("a", "C")
    same([event["revision"] for event in s.run("read", "a", "--json").json], [2])
    (closed,) = s.run("delete", "a", "--tombstone", "--json").json
    same((closed["stream"], closed["tombstone"]), ("a", True))
    s.run("append", "a", "--type", "D", code=5)
    s.run("read", "a", code=5)
    same(s.run("info", "a", "--json").json[0]["tombstoned"], True)
    s.run("delete", "nothing", code=5)


def test_verify_and_digest(s: Stele):
    """verify finds a whole store whole, and against an older digest"""
    s.append("a", "A", "B")
    digest = s.run("digest").out.strip()
    same(s.run("digest", "--json").json, [{"digest": digest}])
    s.append("a", "C")
    has(s.run("verify").out, "everything is as it was written")
    s.run("verify", "--against", digest)
    (result,) = s.run("verify", "--json").json
    same((result["events"], result["damages"]), (3, 0))
    same(result["digest"], s.run("digest").out.strip())
    other = digest[:-4] + ("0000" if digest[-4:] != "0000" else "1111")
    s.run("verify", "--against", other, code=4)
    s.run("verify", "--against", "nonsense", code=2)


def test_scavenge(s: Stele):
    """scavenge reclaims deleted events of sealed segments"""
    data = json.dumps("x" * 10000)
    s.lines("in", [{"stream": f"big-{i % 2}", "type": "T", "data": json.loads(data)}
                   for i in range(1500)])
    s.run("import", "in")
    s.run("delete", "big-0")
    (result,) = s.run("scavenge", "--rate", "1000", "--json").json
    assert result["events_removed"] > 0 and result["rewritten"] > 0, result
    assert result["bytes_after"] < result["bytes_before"], result
    has(s.run("scavenge").out, "rewritten")
    same(len(s.run("read", "big-1", "--json").json), 750)
    s.run("verify")


def test_tail_follows(s: Stele):
    """tail prints what another process appends, at once, until Ctrl-C"""
    s.append("a", "Old")
    process = s.start("tail", "a", "--json")
    # It is ready when it has seen something; until then the appends are repeated.
    import threading
    seen = []
    thread = threading.Thread(target=lambda: seen.extend(iter(process.stdout.readline, b"")))
    thread.start()
    wait_until(lambda: s.append("a", "New") or seen)
    interrupt(process)
    same(process.wait(timeout=HANGS), 0)
    thread.join()
    events = [json.loads(line) for line in seen]
    same({event["type"] for event in events}, {"New"})
    process.stderr.close()


def test_tail_from_start(s: Stele):
    """tail --from start --limit N ends after N events"""
    s.append("a", *"ABC")
    same([event["type"] for event in
          s.run("tail", "a", "--from", "start", "--limit", "2", "--json").json], ["A", "B"])
    same(len(s.run("tail", "$all", "--from", "start", "--limit", "3").lines), 3)
    same(len(s.run("tail", "$all", "--from", "start", "--limit", "1", "--type", "C").lines), 1)
    same(s.run("tail", "a", "--from", "1", "--limit", "1", "--cloudevents").json[0]["type"], "B")


def test_tail_timeout(s: Stele):
    """tail --timeout ends with 0, or with 15 when --limit events did not come"""
    s.append("a", "A")
    same(s.run("tail", "a", "--timeout", "1s").out, "")
    for seconds in ("1", "5", "100"):  # A busy machine may take longer to show the first.
        ended = s.run("tail", "a", "--from", "start", "--timeout", seconds)
        if ended.lines:
            break
    same(len(ended.lines), 1)
    ended = s.run("tail", "a", "--from", "start", "--timeout", seconds, "--limit", "2", code=15)
    has(ended.err, f"{len(ended.lines)} of 2 events came")


def test_tail_timeout_while_looking(s: Stele):
    """the time that tail takes to look through older events is no time in which nothing comes"""
    # A pattern that takes long to find that it does not match: two seconds or so in all.
    slow = "a" * 26 + "b"
    s.lines("slow.jsonl", [{"stream": f"s-{n}", "type": slow} for n in range(1500)]
            + [{"stream": "z", "type": "aaa"}])
    s.run("import", "slow.jsonl")
    for seconds in ("1s", "5s", "20s"):  # A busy machine may take longer for one piece of it.
        found = s.run("tail", "$all", "--from", "start", "--regex", "^(a+)+$", "--limit", "1",
                      "--timeout", seconds, "--json", code=None)
        if found.code == 0:
            break
    same(found.json[0]["stream"], "z")


def test_tail_waits_for_a_stream(s: Stele):
    """tail waits for a stream that does not exist yet"""
    s.append("other", "A")
    process = s.start("tail", "late", "--from", "start", "--limit", "1", "--json")
    s.append("late", "B")
    out, _ = process.communicate(timeout=HANGS)
    same((process.returncode, json.loads(out)["type"]), (0, "B"))


def test_import_reports(s: Stele):
    """import prints what it did, as text and as JSON, and what was there already"""
    s.lines("in", [{"stream": f"s-{i % 3}", "type": "T", "id": ID % i} for i in range(9)])
    same(s.run("import", "in").out, "imported 9 events into 3 streams\n")
    same(s.run("import", "in").out,
         "imported 0 events into 3 streams, 9 more were there already\n")
    same(s.run("import", "--json", "in").json,
         [{"events": 9, "added": 0, "known": 9, "tombstones": 0, "without_id": 0}])
    ended = s.run("import", stdin='{"stream":"n","type":"T"}\n')
    has(ended.err, "1 lines had no id")


def test_version_and_help(s: Stele):
    """version, --version, help, --help, -h answer with 0"""
    assert re.fullmatch(r"stele \d+\.\d+\.\d+\n", s.run("version").out)
    same(s.run("--version").out, s.run("version").out)
    same(s.run("version", "--json").json[0]["version"], s.run("version").out.split()[1])
    overview = s.run("help").out
    same(s.run("--help").out, overview)
    same(s.run("-h").out, overview)
    same(s.run(code=2).out, overview)
    has(s.run("help", "exit-codes").out, "141")
    for topic in ("exit-codes", "json-lines", "cloudevents", "times", "limits", "environment"):
        assert len(s.run("help", topic).lines) > 3


def test_every_command_has_help(s: Stele):
    """every command of the overview explains itself: usage, options, examples"""
    overview = s.run("--help").out
    commands = re.findall(r"^  ([a-z]+) +[A-Z]", overview, re.M)
    assert len(commands) >= 17
    for command in commands:
        text = s.run(command, "--help").out
        assert text.startswith(f"Usage: stele {command}"), text
        for part in ("\nOptions:\n", "--json", "--help", "\nExamples:\n", f"  stele {command}"):
            has(text, part)
        same(s.run("help", command).out, text)
        assert max(map(len, text.splitlines())) <= 100, command


def test_reading_creates_nothing(s: Stele):
    """commands that read do not make a store"""
    import os
    for command in (["read", "a"], ["streams"], ["info"], ["export"], ["verify"], ["digest"],
                    ["tail", "a", "--timeout", "1"], ["delete", "a"], ["meta", "a"], ["scavenge"]):
        s.run(*command, code=5)
        assert not os.path.exists(s.path("stele-data")), command


main(sys.modules[__name__])
