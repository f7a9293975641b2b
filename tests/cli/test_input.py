"""Whatever comes in, the answer is a result or one line that helps; never a crash, never silence.

Method: mistakes of every kind on the command line and in lines of input, each with the part of the
message that names it.
"""

import json
import os
import subprocess
import sys

from harness import ID, Stele, has, main, one_line, same


def mistakes(s, code, cases):
    for args, part in cases:
        ended = s.run(*args, code=code)
        one_line(ended.err)
        has(ended.err, part)
        same(ended.out, "")


def test_suggestions(s: Stele):
    """a mistyped option or command is told with the nearest one there is"""
    mistakes(s, 2, [
        (["raed", "a"], "did you mean read?"),
        (["appendd"], "did you mean append?"),
        (["exprot"], "did you mean export?"),
        (["zzz"], "there is no such command"),
        (["help", "exitcodes"], "did you mean exit-codes?"),
        (["read", "a", "--form", "1"], "did you mean --from?"),
        (["read", "a", "--back"], "did you mean --backwards?"),
        (["read", "a", "--stream-regexp=x"], "did you mean --stream-regex?"),
        (["read", "a", "--qqqqq"], "there is no option --qqqqq"),
        (["read", "a", "--" + "x" * 100000], "there is no option --xxxx"),
        (["read", "a", "-x"], "there is no option -x"),
        (["--frobnicate", "read"], "--frobnicate"),
    ])


def test_arguments(s: Stele):
    """missing, surplus and empty arguments are told"""
    mistakes(s, 2, [
        (["read"], "an argument is missing"),
        (["read", "a", "b"], "'b' is one argument too many"),
        (["read", "a", "--from"], "--from needs a value"),
        (["read", "a", "--backwards=1"], "--backwards takes no value"),
        (["read", ""], "single quotes"),
        (["append", "", "--type", "T"], "is empty"),
        (["append", "a", "--type", ""], "--type is empty"),
        (["append", "a", "--type", "T", "--tag", ""], "--tag is empty"),
        (["append", "a", "--data", "{}"], "--type is missing"),
        (["append", "a", "--type", "T", "--data", "1", "--data-file", "x"], "exclude each other"),
        (["read", "a", "--type", ""], "is empty"),
        (["read", "a", "--raw", "--long"], "exclude each other"),
        (["read", "a", "--store", ""], "the path is empty"),
        (["info", "a", "b"], "too many"),
        (["verify", "x"], "too many"),
    ])


def test_numbers(s: Stele):
    """numbers, times and durations that are none, or too large, are told"""
    s.append("a", "T")
    huge = "99999999999999999999999"
    mistakes(s, 2, [
        (["read", "a", "--from", "x"], "'x' is none of"),
        (["read", "a", "--from", "-1"], "'-1'"),
        (["read", "a", "--from", "1.5"], "'1.5'"),
        (["read", "a", "--from", huge], "too large"),
        (["read", "a", "--from", "18446744073709551615"], "too large"),
        (["read", "$all", "--from", "9223372036854775808"], "too large"),
        (["read", "a", "--limit", "0"], "no whole number from 1"),
        (["read", "a", "--limit", huge], "too large"),
        (["read", "a", "--limit", ""], "no whole number"),
        (["read", "a", "--limit", " 1"], "no whole number"),
        (["read", "a", "--limit", "0x10"], "no whole number"),
        (["read", "a", "--as-of", "yesterday"], "neither a position nor a time"),
        (["read", "a", "--as-of", "2026-11-20"], "neither a position nor a time"),
        (["read", "a", "--as-of", "2026-11-20T15:00:00"], "with Z or an offset"),
        (["read", "a", "--as-of", "2026-02-29T15:00:00Z"], "neither"),
        (["read", "a", "--as-of", "2026-11-20T24:00:00Z"], "neither"),
        (["read", "a", "--as-of", "2026-11-20T15:00:00Zx"], "neither"),
        (["read", "a", "--as-of", huge], "too large"),
        (["append", "a", "--type", "T", "--expect", "sometimes"], "none of any, none, exists"),
        (["append", "a", "--type", "T", "--expect", huge], "too large"),
        (["append", "a", "--type", "T", "--expect", "18446744073709551610"], "too large"),
        (["append", "a", "--type", "T", "--created", "noon"], "no time"),
        (["append", "a", "--type", "T", "--id", "1234"], "no UUID"),
        (["append", "a", "--type", "T", "--id", "0" * 8 + "-0000-0000-0000-" + "0" * 12], "no UUID"),
        (["append", "a", "--type", "T", "--after", "1"], "--after needs"),
        (["append", "a", "--type", "T", "--fail-if-type", "T", "--after", "x"], "no position"),
        (["append", "a", "--batch", "65537"], "at most 65536"),
        (["import", "--batch", "0"], "no whole number from 1"),
        (["tail", "a", "--timeout", "1y"], "no duration"),
        (["tail", "a", "--timeout", "0"], "--timeout is from 1s on"),
        (["tail", "a", "--timeout", "99999999999999999w"], "too large"),
        (["meta", "a", "--max-age", "7 d"], "neither a duration"),
        (["meta", "a", "--max-count", "many"], "neither a whole number"),
        (["scavenge", "--rate", "fast"], "no whole number"),
        (["scavenge", "--rate", "18446744073709551615"], "too large"),
    ])
    for time in ("2026-11-20T15:00:00Z", "2026-11-20t15:00:00.5z", "2026-11-20 15:00:00+01:00",
                 "2024-02-29T00:00:00Z", "2016-12-31T23:59:60Z", "1901-01-01T00:00:00-12:00"):
        s.run("read", "a", "--as-of", time)


def test_names(s: Stele):
    """names that are no UTF-8, have control characters, or are taken, are told"""
    s.append("a", "T")
    mistakes(s, 2, [
        (["read", b"a\xff"], "'a\\xff' is no UTF-8"),
        (["append", b"\xc0\x80", "--type", "T"], "is no UTF-8"),
        (["append", b"\xed\xa0\x80", "--type", "T"], "is no UTF-8"),
        (["append", "a", "--type", b"T\x80"], "is no UTF-8"),
        (["read", "a", "--type", b"\xff"], "no UTF-8"),
        (["append", "a\nb", "--type", "T"], "control character"),
        (["append", "$all", "--type", "T"], "can be read, not written"),
        (["append", "$ce-x", "--type", "T"], "can be read, not written"),
        (["read", "$all", "--regex", "("], "regular expression"),
    ])
    for name in ("a b", "ä€😀", "-a", "$a", "a" * 1024, "~`!@#%^&*()", "café"):
        s.run("append", "--type", "T", "--", name)
        same(s.run("read", "--json", "--", name).json[0]["stream"], name)


def test_data(s: Stele):
    """data that is no JSON is told with line and column, unless it says what it is"""
    s.append("a", "T")
    mistakes(s, 9, [
        (["append", "a", "--type", "T", "--data", ""], "--data is no JSON"),
        (["append", "a", "--type", "T", "--data", "{\n \"a\": x}"], "line 2, column"),
        (["append", "a", "--type", "T", "--data", "{} {}"], "no JSON"),
        (["append", "a", "--type", "T", "--data", b'"\xff"'], "no JSON"),
        (["append", "a", "--type", "T", "--metadata", "x"], "--metadata is no JSON"),
        (["append", "a", "--type", "T", "--fail-if", "x"], "--fail-if is no JSON"),
        (["append", "a", "--type", "T", "--fail-if", "[]"], "list of alternatives"),
        (["append", "a", "--type", "T", "--fail-if", "[{}]"], "list of alternatives"),
        (["append", "a", "--type", "T", "--fail-if", '[{"types":"A"}]'], "list of alternatives"),
    ])
    same(len(s.run("read", "a").lines), 1)
    s.run("append", "a", "--type", "T", "--data", "", "--content-type", "text/plain")
    for data in ("1", "null", '"x"', "[]", "12345678901234567890123", '{"a":1,"a":2}', '"\\u0000"'):
        s.run("append", "a", "--type", "T", "--data", data)
        has(s.run("read", "a", "--backwards", "--limit", "1", "--json").out, '"data":' + data)


LINES = [
    ('{"type":"T"}', '"stream" is missing'),
    ('{"stream":"a"}', '"type" is missing'),
    ('{"stream":"","type":"T"}', '"stream" is empty'),
    ('{"stream":"a","type":""}', '"type" is missing'),
    ('{"stream":1,"type":"T"}', '"stream" is no string'),
    ('{"stream":"a","type":"T","id":"x"}', '"id" is no UUID'),
    ('{"stream":"a","type":"T","id":1}', '"id" is no string'),
    ('{"stream":"a","type":"T","created":"now"}', '"created" is no time'),
    ('{"stream":"a","type":"T","created":1.5}', "microseconds"),
    ('{"stream":"a","type":"T","created":[]}', '"created" is no time'),
    ('{"stream":"a","type":"T","tags":"x"}', '"tags" is no list'),
    ('{"stream":"a","type":"T","tags":[1]}', '"tags" has something that is no name'),
    ('{"stream":"a","type":"T","tags":[""]}', '"tags" has something that is no name'),
    ('{"stream":"a","type":"T","data":1,"data_base64":"AA=="}', "exclude each other"),
    ('{"stream":"a","type":"T","data_base64":"AA="}', "is no base64"),
    ('{"stream":"a","type":"T","data_base64":"A!=="}', "is no base64"),
    ('{"stream":"a","type":"T","data_base64":"AB=="}', "is no base64"),
    ('{"stream":"a","type":"T","data_base64":1}', "write base64 in quotes"),
    ('{"stream":"a","type":"T","data":1,"content_type":"text/plain"}', "has to be a string"),
    ('{"stream":"a","type":"T","dta":1}', 'the member "dta" means nothing'),
    ('{"stream":"a","type":"T\\u0000"}', "zero byte"),
    ('{"stream":"a","type":"T"} x', "end of file expected"),
    ("[1]", "no object"),
    ("1", "no object"),
    ("{", "in:2:1: no JSON"),
    ('{"stream":"a\xff","type":"T"}'.encode("latin-1"), "no JSON"),
    ('{"specversion":"1.0","type":"T","source":"a"}', '"id" is missing'),
    ('{"specversion":"1.0","type":"T","id":"1"}', '"source" is missing'),
    ('{"specversion":"0.3","type":"T","id":"1","source":"a"}', '"specversion" is not'),
    ('{"specversion":"1.0","type":"T","id":"1","source":"%ff"}', '"source" is no UTF-8'),
    ('{"specversion":"1.0","type":"T","id":"1","source":"%00"}', '"source" is no UTF-8'),
    ('{"specversion":"1.0","type":"T","id":"1","source":"a","x":{}}', "is an object or a list"),
    ('{"specversion":"1.0","type":"T","id":"1","source":"a","X":1}', "is no name of a CloudEvents"),
    ('{"specversion":"1.0","type":"T","id":"1","source":"a","tags":"x"}', "holds no JSON list"),
    ('{"specversion":"1.0","id":"1","source":"a"}', '"type" is missing'),
]


def test_lines(s: Stele):
    """every mistake in a line is told with file and line; the lines before it are stored"""
    for number, (line, part) in enumerate(LINES):
        store = f"store{number}"
        s.run("append", "x", "--type", "T", "--store", store)
        line = line if isinstance(line, bytes) else line.encode()
        s.write("in", b'{"stream":"ok","type":"T","id":"' + (ID % 1).encode() + b'"}\n' + line + b"\n")
        ended = s.run("import", "in", "--store", store, code=9)
        one_line(ended.err)
        has(ended.err, "stele: in:2")
        has(ended.err, part)
        same(ended.out, "imported 1 events into 1 streams\n")


def test_append_lines(s: Stele):
    """append refuses lines of another stream and tombstones"""
    s.append("a", "T")
    for line, part in (('{"stream":"b","type":"T"}', "belongs to the stream b"),
                       ('{"stream":"a","type":"T","tombstone":true}', "delete --tombstone"),
                       ('{"specversion":"1.0","id":"1","source":"b","type":"T"}', "belongs to")):
        ended = s.run("append", "a", stdin=line, code=9)
        one_line(ended.err)
        has(ended.err, part)
    s.run("append", "a", stdin='{"stream":"a","type":"T"}')
    s.run("append", "a", stdin='{"specversion":"1.0","id":"1","source":"a","type":"T"}')


def test_line_ends(s: Stele):
    """blank lines, CRLF and a last line without an end are fine"""
    text = '\r\n{"stream":"a","type":"A"}\r\n\n  \t\n{"stream":"a","type":"B"}'
    same(s.run("import", stdin=text).out, "imported 2 events into 1 streams\n")
    same(s.run("import", stdin="").out, "imported 0 events into 0 streams\n")


def test_huge_lines(s: Stele):
    """a line of 20 MiB is fine, one beyond the limit is told without eating the memory"""
    event = {"stream": "a", "type": "T", "data": "x" * (15 << 20)}
    s.run("import", stdin=json.dumps(event))
    same(len(s.run("read", "a", "--raw").raw_out), (15 << 20) + 2)
    event["data"] = "x" * (17 << 20)
    ended = s.run("import", stdin=json.dumps(event), code=8)
    has(ended.err, "standard input:1")
    endless = s.shell("head -c 140000000 /dev/zero | tr '\\0' ' ' | stele import", code=8)
    has(endless.err, "longer than 134217728 bytes")


def test_deep_json(s: Stele):
    """JSON nested more deeply than the parser goes is told, and stored as base64 it comes back"""
    deep = "[" * 5000 + "]" * 5000
    s.run("append", "a", "--type", "T", "--data", deep, code=9)
    import base64
    line = {"stream": "a", "type": "T", "data_base64": base64.b64encode(deep.encode()).decode()}
    s.run("import", stdin=json.dumps(line))
    same(s.run("read", "a", "--json").json[0]["data_base64"], line["data_base64"])


def test_files(s: Stele):
    """files that cannot be read are told"""
    s.append("a", "T")
    os.mkdir(s.path("directory"))
    for args in (["import", "nothing"], ["append", "a", "--type", "T", "--data-file", "nothing"]):
        one_line(s.run(*args, code=5).err)
    for args in (["import", "directory"], ["append", "a", "--type", "T", "--data-file", "directory"]):
        one_line(s.run(*args, code=12).err)
    # Earlier files of the same import are in the store, and it says so.
    s.lines("good", [{"stream": "g", "type": "T"}])
    has(s.run("import", "good", "nothing", code=5).out, "imported 1 events")


def test_standard_input_is_a_directory(s: Stele):
    """standard input that cannot be read is told"""
    s.append("a", "T")
    fd = os.open(s.dir, os.O_RDONLY)
    try:
        ended = s.run("append", "a", code=12, stdin=None, **{"preexec_fn": lambda: os.dup2(fd, 0)})
    finally:
        os.close(fd)
    has(ended.err, "read standard input")


def test_json_failures_are_json(s: Stele):
    """with --json every failure is one JSON object, wherever --json stands"""
    for args in (["--json", "raed"], ["raed", "--json"], ["read", "--json", "--nonsense"],
                 ["read", "--nonsense", "--json"], ["--json", "read", "a"], ["--nonsense", "--json"]):
        failure = s.run(*args, code=None).failure
        same(sorted(failure), ["error", "exit_code", "message"])
    failure = s.run("append", b"\xff\xfe", "--type", "T", "--json", code=2).failure
    has(failure["message"], "\\xff\\xfe")


def test_numbers_in_lines_are_kept(s: Stele):
    """numbers too large for a machine word, and their exact spelling, pass through"""
    data = '{"a":123456789012345678901234567890,"b":1.10,"c":1e5,"d":-0,"a":2}'
    s.run("import", stdin='{"stream":"a","type":"T","data":' + data + "}")
    same(s.run("read", "a", "--raw").out, data)


def test_binary_rubbish(s: Stele):
    """rubbish of any kind is told as input that is no JSON"""
    import random
    rng = random.Random(7)
    for _ in range(30):
        rubbish = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 400)))
        if rubbish.strip():
            ended = s.run("import", stdin=rubbish, code=9)
            has(ended.err, "standard input:")


def test_mutated_lines(s: Stele):
    """a good line with one byte changed ends with 0, 8 or 9, never otherwise"""
    import random
    rng = random.Random(11)
    good = ('{"stream":"a-1","type":"T","id":"%s","created":"2026-01-02T03:04:05Z","data":{"x":[1,"y"]},'
            '"metadata":{"m":null},"tags":["t"],"content_type":"application/json"}' % (ID % 3)).encode()
    lines = []
    for _ in range(60):
        line = bytearray(good)
        line[rng.randrange(len(line))] = rng.choice(b'"{}[]:,\\\0\xff a0%')
        lines.append(bytes(line))
    for line in lines:
        ended = s.run("import", stdin=line, code=None)
        assert ended.code in (0, 2, 8, 9), (ended.code, line, ended.err)


main(sys.modules[__name__])
