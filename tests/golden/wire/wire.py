"""What the golden bytes mean, judged by protoc and Google's own library.

    wire.py PROTO_DIR FILE…             each message's bytes are exactly its text; TAP
    wire.py --pin PROGRAM PROTO_DIR FILE…
        for a deliberate change: makes bytes of requests from their texts ("> ?"), replays the file in
        PROGRAM (test_wire), and writes down what it says, with texts

The lines of a file are described in test_wire.c; behind each message stands its text after "|".
"""

import base64
import os
import subprocess
import sys
import tempfile

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

POOL = descriptor_pool.DescriptorPool()
STATUS = None


def messages(proto):
    """By path of an RPC: the classes of its requests and answers."""
    names = []
    for top, path in (("", "stele/v1"), ("kurrent", "event_store/client"),
                      ("kurrent", "kurrentdb/protocol/v2/streams"), ("kurrent", "google/rpc"),
                      ("kurrent", "kurrent/rpc")):
        folder = os.path.join(proto, top, path)
        names += [f"{path}/{name}" for name in sorted(os.listdir(folder)) if name.endswith(".proto")]
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run(["protoc", f"-I{proto}/kurrent", f"-I{proto}", "--include_imports",
                        f"--descriptor_set_out={out.name}", *names], check=True)
        files = descriptor_pb2.FileDescriptorSet.FromString(out.read()).file
    for file in files:
        POOL.Add(file)
    factory = message_factory.MessageFactory(POOL)
    global STATUS
    STATUS = factory.GetPrototype(POOL.FindMessageTypeByName("google.rpc.Status"))
    classes = {}
    for file in files:
        for service in file.service:
            for method in service.method:
                classes[f"/{file.package}.{service.name}/{method.name}"] = [
                    factory.GetPrototype(POOL.FindMessageTypeByName(name[1:]))
                    for name in (method.input_type, method.output_type)]
    return classes


def text_of(message):
    return text_format.MessageToString(message, as_one_line=True, as_utf8=False,
                                       descriptor_pool=POOL)


def details_of(line):
    """The google.rpc.Status behind a status ("= 9 BASE64"), or None."""
    words = line.split(" ")
    if line[:1] != "=" or len(words[-1]) < 20 or words[-1].isdigit() or "-" in words[-1]:
        return None
    padded = words[-1] + "=" * (-len(words[-1]) % 4)
    return STATUS.FromString(base64.b64decode(padded, validate=True))


def walk(lines, classes):
    """Of each message: number of its line, its class, bytes in hexadecimal, text."""
    path = None
    for number, line in enumerate(lines):
        if line.startswith("/"):
            path = line
        elif line[:1] in "<>" and line:
            text = lines[number + 1]
            assert text[:1] == "|", f"line {number + 2}: the text of a message was expected"
            yield number, classes[path][line[0] == "<"], line[2:], text[2:]


def check(path, classes):
    with open(path, encoding="utf-8") as file:
        lines = file.read().split("\n")
    count, seen = 0, set()
    for number, kind, data, text in walk(lines, classes):
        message = kind.FromString(bytes.fromhex(data))
        want = text_format.Parse(text, kind(), descriptor_pool=POOL)
        assert message == want, f"{path}:{number + 1}: is {text_of(message)}"
        assert not unknown(message), f"{path}:{number + 1}: has fields that proto/ does not know"
        # The shortest form, which canonical encoders write (maps may be in any order).
        size = len(message.SerializeToString())
        assert size == len(data) // 2 or is_padded(message), f"{path}:{number + 1}: is not canonical"
        count += 1
        seen.add(kind.DESCRIPTOR.full_name)
    for number, line in enumerate(lines):
        status = details_of(line)
        if status is not None:
            assert lines[number + 1] == "| " + text_of(status), \
                f"{path}:{number + 1}: is {text_of(status)}"
            count += 1
    return count, seen


def is_padded(message):
    """Answers that are not hot have nested messages with lengths of fixed width."""
    return message.DESCRIPTOR.name in ("GetInfoResp", "ListResp", "GroupsResponse") or any(
        field.name == "subscription_confirmation" for field, _ in message.ListFields())


def unknown(message):
    if len(message.UnknownFields()) > 0:
        return True
    for field, value in message.ListFields():
        if field.type != field.TYPE_MESSAGE:
            continue
        if field.message_type.GetOptions().map_entry:
            continue
        if any(unknown(one) for one in (value if field.label == field.LABEL_REPEATED else [value])):
            return True
    return False


def pin(program, path, classes):
    with open(path, encoding="utf-8") as file:
        lines = [line for line in file.read().split("\n") if line[:1] not in ("<", "=") or not line]
    # Texts of answers go as well: they follow the line that was dropped.
    kept, here = [], None
    for line in lines:
        if line.startswith("/"):
            here = line
        if line.startswith("|"):
            if not kept or not kept[-1].startswith(">"):
                continue
            if kept[-1] == "> ?":
                made = text_format.Parse(line[2:], classes[here][0](), descriptor_pool=POOL)
                kept[-1] = "> " + made.SerializeToString(deterministic=True).hex()
        kept.append(line)
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(kept))
    with tempfile.TemporaryDirectory() as out:
        subprocess.run([program], env={**os.environ, "STELE_GOLDEN_OUT": out}, check=False,
                       stdout=subprocess.DEVNULL)
        with open(os.path.join(out, os.path.basename(path)), encoding="utf-8") as file:
            told = file.read().split("\n")
    result, source, here = [], iter(kept), None
    for line in told:
        if line[:1] in ("<", "="):
            result.append(line)
            if line[:1] == "<":
                result.append("| " + text_of(classes[here][1].FromString(bytes.fromhex(line[2:]))))
            elif details_of(line) is not None:
                result.append("| " + text_of(details_of(line)))
            continue
        for own in source:  # Up to the same line there may be comments and the text of the last one.
            result.append(own)
            if own == line:
                break
        if line.startswith("/"):
            here = line
        if line.startswith(">"):
            result.append(next(source))
    result += source
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(result))


def main():
    if sys.argv[1] == "--pin":
        classes = messages(sys.argv[3])
        for path in sys.argv[4:]:
            pin(sys.argv[2], path, classes)
        return
    classes = messages(sys.argv[1])
    print(f"1..{len(sys.argv) - 2}")
    for number, path in enumerate(sys.argv[2:], 1):
        name = f"every message of {os.path.basename(path)} means what stands beside it"
        try:
            count, seen = check(path, classes)
            print(f"ok {number} - {name}\n# {count} messages of {len(seen)} kinds", flush=True)
        except AssertionError as error:
            print(f"not ok {number} - {name}\n# {error}", flush=True)
            sys.exit(1)


main()
