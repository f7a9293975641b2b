"""Every exit code of the table comes from what the table says, with a failure that is one line for
people and one JSON object for programs.

Method: each code is provoked on a real store: by another process, by calls of the system that fail
(faults.c), by bytes of the store that are changed.
"""

import glob
import json
import os
import re
import struct
import subprocess
import sys

from harness import BINARY, HANGS, ID, Stele, become_nobody, crc32c, has, main, one_line, same, wait_until


def refused(s, code, name, *args, **kwargs):
    """The command ends with the code, for people and for programs."""
    one_line(s.run(*args, code=code, **kwargs).err)
    failure = s.run(*args, "--json", code=code, **kwargs).failure
    same((failure["error"], failure["exit_code"]), (name, code))
    assert failure["message"]
    return failure


def test_table(s: Stele):
    """help exit-codes and docs/cli.md have the same table, and it is what cli.h says"""
    from harness import SOURCE
    with open(os.path.join(SOURCE, "src/cli/cli.h")) as file:
        header = set(map(int, re.findall(r"^#define STELE_CLI_\w+ (\d+)", file.read(), re.M)))
    shown = s.run("help", "exit-codes").out
    same(set(map(int, re.findall(r"^ +(\d+)  ", shown, re.M))), header)
    with open(os.path.join(SOURCE, "docs/cli.md")) as file:
        documented = file.read()
    same(set(map(int, re.findall(r"^\| (\d+) \|", documented, re.M))), header)


def test_0_and_2(s: Stele):
    """2: usage, and nothing was done"""
    s.append("b", "T")
    refused(s, 2, "usage", "append", "a", "--nonsense")
    refused(s, 2, "usage", "raed", "a")
    refused(s, 2, "invalid", "append", "$all", "--type", "T")
    same(s.run("streams").out, "b  1\n")


def test_1(s: Stele):
    """1: memory runs out (sanitizers, which end the process themselves, aside)"""
    import resource
    s.append("a", "T")
    s.write("big", b"x" * (15 << 20))
    with open(BINARY, "rb") as file:
        content = file.read()
    if b"__asan_init" in content or b"__tsan_init" in content:
        return
    limit = (24 << 20, 24 << 20)
    ended = s.run("append", "a", "--type", "T", "--data-file", "big", "--content-type", "x/y",
                  code=1, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, limit))
    one_line(ended.err)
    has(ended.err, "memory")
    same(len(s.run("read", "a").lines), 1)


def test_3_revision(s: Stele):
    """3: a wrong expected revision, with what was expected and what is"""
    s.append("a", "T")
    failure = refused(s, 3, "wrong-revision", "append", "a", "--type", "T", "--expect", "5")
    same((failure["stream"], failure["expected"], failure["actual"]), ("a", 5, 0))
    failure = refused(s, 3, "wrong-revision", "append", "b", "--type", "T", "--expect", "exists")
    same((failure["expected"], failure["actual"]), ("exists", "none"))
    refused(s, 3, "wrong-revision", "delete", "a", "--expect", "5")
    refused(s, 3, "wrong-revision", "meta", "a", "set", "{}", "--expect", "5")


def test_3_condition(s: Stele):
    """3: a condition that failed, with the position of the event"""
    s.append("a", "T")
    failure = refused(s, 3, "condition-failed", "append", "b", "--type", "U", "--fail-if-type", "T")
    same(failure["position"], s.run("read", "a", "--json").json[0]["position"])


def damage(s, text):
    """Changes a byte of the stored data; the log has it, and nothing else."""
    found = 0
    for name in glob.glob(s.path("stele-data/*")):
        with open(name, "r+b") as file:
            content = file.read()
            at = content.find(text)
            if at >= 0:
                file.seek(at)
                file.write(bytes([content[at] ^ 1]))
                found += 1
    assert found == 1, found


def test_4(s: Stele):
    """4: damage, told with file and offset by read, export and verify"""
    s.run("append", "a", "--type", "T", "--data", '"first"')
    s.run("append", "a", "--type", "T", "--data", '"needle"')
    s.run("append", "a", "--type", "T", "--data", '"third"')
    damage(s, b"needle")
    verified = s.run("verify", code=4)
    assert re.search(r"damage  \S+ at \d+: ", verified.out), verified.out
    one_line(verified.err)
    objects = s.run("verify", "--json", code=4).json
    assert objects[0]["damage"] and objects[0]["file"] and objects[0]["offset"] > 0
    same(objects[-1]["damages"], len(objects) - 1)
    stopped = s.run("read", "$all", "--json", code=4)
    same([event["data"] for event in stopped.json], ["first"])
    same(stopped.failure["error"], "corrupt")
    one_line(s.run("read", "a", code=4).err)
    saved = s.run("export", "--skip-damage", code=4)
    same([event["data"] for event in saved.json], ["first", "third"])
    saved = s.run("read", "a", "--skip-damage", "--json", code=4)
    same([event["data"] for event in saved.json], ["first", "third"])


def test_5(s: Stele):
    """5: no store, no stream, no metadata, a deleted or closed stream, no file"""
    refused(s, 5, "not-a-store", "read", "a")
    s.write("file", "x")
    os.mkdir(s.path("full"))
    s.write("full/file", "x")
    refused(s, 5, "not-a-store", "read", "a", "--store", "full")
    refused(s, 5, "not-a-store", "append", "a", "--type", "T", "--store", "full")
    s.append("a", "T")
    refused(s, 5, "no-stream", "read", "b")
    refused(s, 5, "no-stream", "info", "b")
    refused(s, 5, "no-stream", "delete", "b")
    refused(s, 5, "not-found", "meta", "a")
    s.run("delete", "a")
    refused(s, 5, "no-stream", "read", "a")
    s.run("delete", "a", "--tombstone")
    refused(s, 5, "stream-deleted", "read", "a")
    refused(s, 5, "stream-deleted", "append", "a", "--type", "T")
    refused(s, 5, "input", "import", "nothing.jsonl")


def test_6(s: Stele):
    """6: another process writes, and the message names it; reading goes on"""
    s.append("a", "T")
    writer = s.start("import", "-", stdin=subprocess.PIPE)
    try:
        writer.stdin.write(b'{"stream":"b","type":"T"}\n')
        writer.stdin.flush()
        wait_until(lambda: s.run("read", "b", code=None).out)
        ended = s.run("append", "a", "--type", "T", code=6)
        one_line(ended.err)
        has(ended.err, str(writer.pid))
        same(s.run("append", "a", "--type", "T", "--json", code=6).failure["error"], "locked")
        s.run("read", "a")
    finally:
        writer.stdin.close()
        same(writer.wait(timeout=HANGS), 0)
        writer.stdout.close()
        writer.stderr.close()


def test_7_store(s: Stele):
    """7: the disk is full, when a store is made and when a segment is needed"""
    failure = refused(s, 7, "no-space", "append", "a", "--type", "T", env=s.faulty(fallocate=1))
    assert failure["message"]
    s.append("a", "T")
    s.run("verify")


def test_7_output(s: Stele):
    """7: standard output is a full disk"""
    s.append("a", "T")
    with open("/dev/full", "wb") as full:
        ended = s.run("read", "a", code=7, stdout=full)
    one_line(ended.err)
    has(ended.err, "standard output")


def test_8(s: Stele):
    """8: names, events, lines that are too large"""
    refused(s, 8, "limit", "append", "x" * 1100, "--type", "T")
    refused(s, 8, "limit", "append", "a", "--type", "T" * 256)
    refused(s, 8, "limit", "append", "a", "--type", "T", "--tag", "t" * 256)
    s.append("a", "T")
    s.write("big", b"\0" * ((16 << 20) + 1))
    refused(s, 8, "limit", "append", "a", "--type", "T", "--content-type", "x/y",
            "--data-file", "big")
    tags = [f"t{i}" for i in range(33)]
    s.lines("in", [{"stream": "ok", "type": "T"}, {"stream": "a", "type": "T", "tags": tags}])
    ended = s.run("import", "in", code=8)
    has(ended.err, "in:2")


def test_9(s: Stele):
    """9: bad input, told with file, line and column"""
    refused(s, 9, "input", "append", "a", "--type", "T", "--data", "{")
    s.append("a", "T")
    s.write("in", '\n{"stream": }\n')
    failure = refused(s, 9, "input", "import", "in")
    same((failure["file"], failure["line"], failure["column"]), ("in", 2, 12))


def fail_the_sync_of_an_append(s, *args):
    """Opening the store syncs, too, and how often is its own affair."""
    for n in range(1, 10):
        ended = s.run(*args, env=s.faulty(fdatasync=n), code=None)
        if ended.code == 10:
            return ended
        same(ended.code, 12)
    raise AssertionError("no sync was that of an append")


def test_10(s: Stele):
    """10: nobody knows, and the ids to repeat are told; the repetition stores once"""
    s.append("a", "T")
    ended = fail_the_sync_of_an_append(s, "append", "a", "--type", "U", "--id", ID % 7)
    one_line(ended.err)
    has(ended.err, ID % 7)
    s.run("append", "a", "--type", "U", "--id", ID % 7)
    same(len(s.run("read", "a", "--type", "U").lines), 1)
    failed = fail_the_sync_of_an_append(s, "append", "a", "--type", "U", "--json").failure
    same((failed["error"], len(failed["ids"])), ("unknown", 1))
    s.run("append", "a", "--type", "U", "--id", failed["ids"][0])
    same(len(s.run("read", "a", "--type", "U").lines), 2)
    s.lines("in", [{"stream": f"s-{i}", "type": "T", "id": ID % i} for i in range(5)])
    one_line(fail_the_sync_of_an_append(s, "import", "in").err)
    s.run("import", "in")
    same(len(s.run("read", "$all", "--stream-prefix", "s-").lines), 5)


def test_11(s: Stele):
    """11: access denied"""
    s.append("a", "T")
    s.write("secret", "{}")
    os.chmod(s.path("secret"), 0)
    os.chmod(s.path("stele-data"), 0)
    as_nobody = dict(preexec_fn=become_nobody)
    import shutil
    # The binary may lie where nobody else can look.
    os.chmod(s.dir, 0o755)
    import harness
    shutil.copy(harness.BINARY, s.path("stele"))
    old, harness.BINARY = harness.BINARY, s.path("stele")
    try:
        refused(s, 11, "permission", "read", "a", **as_nobody)
        refused(s, 11, "permission", "append", "a", "--type", "T", **as_nobody)
        refused(s, 11, "input", "append", "a", "--type", "T", "--data-file", "secret", **as_nobody)
        os.mkdir(s.path("empty"), 0o555)
        refused(s, 11, "permission", "append", "a", "--type", "T", "--store", "empty/new", **as_nobody)
    finally:
        harness.BINARY = old


def test_12(s: Stele):
    """12: closed standard output, a directory as input, too few open files"""
    s.append("a", "T")
    ended = s.shell("stele read a >&-", code=12)
    one_line(ended.err)
    refused(s, 12, "input", "import", ".")
    same(s.shell("stele append a <&-", code=12).out, "")
    # What to do about too few open files is not to look at the disk.
    import resource
    ended = s.run("read", "a", code=12, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (4, 4)))
    one_line(ended.err)
    has(ended.err, "ulimit -n")
    # What would have been written to number 1 is not in the store.
    s.run("verify")


def test_13(s: Stele):
    """13: a newer version wrote the store"""
    s.append("a", "T")
    with open(s.path("stele-data/stele.store"), "r+b") as file:
        content = bytearray(file.read())
        for at in (0, 4096):
            content[at + 8 : at + 12] = struct.pack("<I", 1000)
            content[at + 64 : at + 68] = struct.pack("<I", crc32c(content[at : at + 64]))
        file.seek(0)
        file.write(content)
    refused(s, 13, "format", "read", "a")


def test_14(s: Stele):
    """14: an id that was used for something else"""
    lines = [{"type": "T", "id": ID % i} for i in range(3)]
    s.lines("in", lines)
    s.run("append", "a", "--batch", "3", stdin=open(s.path("in"), "rb").read())
    lines[2]["id"] = ID % 99
    changed = "".join(json.dumps(line) + "\n" for line in lines)
    one_line(s.run("append", "a", "--batch", "3", stdin=changed, code=14).err)


def test_15(s: Stele):
    """15: the time was over"""
    s.append("a", "T")
    refused(s, 15, "timed-out", "tail", "a", "--limit", "1", "--timeout", "1")


main(sys.modules[__name__])
