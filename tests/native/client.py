"""An independent client of the native service: gRPC's own library for Python, and messages made from
proto/ by protoc when a test starts. Nothing of Stele's is between the test and the wire."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from harness import BINARY, HANGS, SOURCE, same  # noqa: E402

with open(BINARY, "rb") as binary:
    code = binary.read()
    SANITIZED = b"__asan_init" in code or b"__tsan_init" in code  # Memory says nothing then.
# The search for leaks looks at the process from outside, which the sandbox does not allow.
USUAL = ["--no-sandbox"] if SANITIZED else []

PROTOS = ["stele/v1/event_store.proto", "grpc/health/v1/health.proto",
          "grpc/reflection/v1/reflection.proto", "grpc/reflection/v1alpha/reflection.proto"]


def described(protos, *paths):
    """The descriptors of some .proto files and of what they import, as protoc gives them."""
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run(["protoc", *(f"-I{os.path.join(SOURCE, 'proto', path)}" for path in paths),
                        "--include_imports", f"--descriptor_set_out={out.name}", *protos], check=True)
        return descriptor_pb2.FileDescriptorSet.FromString(out.read())


class Messages:
    """Classes of messages by their full names: Messages(…)["stele.v1.Event"]."""

    def __init__(self, files):
        self.pool = descriptor_pool.DescriptorPool()
        for file in files:
            self.pool.Add(file)
        self.factory = message_factory.MessageFactory(self.pool)

    def __getitem__(self, name):
        return self.factory.GetPrototype(self.pool.FindMessageTypeByName(name))


class Service:
    """The methods of a service on a channel: Service(…).Append(request)."""

    def __init__(self, messages, channel, name):
        service = self.described(messages, name)
        for method in service.method:
            kind = ("stream" if method.client_streaming else "unary") + "_" + (
                "stream" if method.server_streaming else "unary")
            setattr(self, method.name, getattr(channel, kind)(
                f"/{name}/{method.name}",
                request_serializer=messages[method.input_type[1:]].SerializeToString,
                response_deserializer=messages[method.output_type[1:]].FromString))

    @staticmethod
    def described(messages, name):
        service = descriptor_pb2.ServiceDescriptorProto()
        messages.pool.FindServiceByName(name).CopyToProto(service)
        return service


MESSAGES = Messages(described(PROTOS, "").file)


class Words:
    """Messages and values of enums of stele.v1, by their short names: v1.Event(…), v1.OUTCOME_OK."""

    def __getattr__(self, name):
        package = "stele.v1."
        try:
            return MESSAGES[package + name]
        except KeyError:
            file = MESSAGES.pool.FindFileByName("stele/v1/event_store.proto")
            for enum in file.enum_types_by_name.values():
                if name in enum.values_by_name:
                    return enum.values_by_name[name].number
            raise AttributeError(name) from None


v1 = Words()


class Server:
    """A server on the test's directory. `with Server(stele) as server: server.store.Append(…)`"""

    def __init__(self, stele, *args, secure=False):
        first = () if secure else ("--insecure",)
        self.process = stele.start("serve", "--port", "0", *first, *USUAL, *args,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.output = ""
        while not (found := re.search(r"127\.0\.0\.1:(\d+)", self.output)):
            line = self.process.stdout.readline().decode()
            assert line, f"the server ended: {self.output}"
            self.output += line
        self.port = int(found[1])
        self.reader = threading.Thread(target=self.read_on, daemon=True)
        self.reader.start()
        self.channel = self.connect()
        self.store = Service(MESSAGES, self.channel, "stele.v1.EventStore")

    def read_on(self):
        for line in self.process.stdout:
            self.output += line.decode()

    def connect(self, **options):
        return grpc.insecure_channel(
            f"127.0.0.1:{self.port}",
            options=[("grpc.max_receive_message_length", -1), *options.items()])

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.channel.close()
        if kind is None:
            self.stop()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stdout.close()

    def stop(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(HANGS)
        assert code == 0, f"the server ended with {code}: {self.output}"

    def memory(self):
        """KiB of memory that is the server's alone: files that it maps do not count."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return int(re.search(r"RssAnon:\s+(\d+)", file.read())[1])


def failure(call):
    """How a call failed: (status, message, the trailer stele-outcome or None)."""
    try:
        answer = call()
        if hasattr(answer, "__next__"):
            for _ in answer:
                pass
    except grpc.RpcError as error:
        trailers = dict(error.trailing_metadata() or ())
        return error.code(), error.details(), trailers.get("stele-outcome")
    raise AssertionError("the call did not fail")


def put(server, stream, count, type="Placed", data=None, metadata=b'{"m":1}', **fields):
    """Appends events and remembers them in put.events, as a reader gets them."""
    drafts = [v1.Draft(type=type, data=b'{"n":%d}' % i if data is None else data, metadata=metadata,
                       id=os.urandom(16), **fields) for i in range(count)]
    answer = server.store.Append(
        v1.AppendRequest(streams=[v1.StreamAppend(stream=stream, events=drafts)]))
    same(answer.outcome, v1.OUTCOME_OK)
    put.events = read(server, stream=stream)[-count:]
    for draft, event in zip(drafts, put.events):
        same((event.id, event.type, event.data, event.metadata, list(event.tags)),
             (draft.id, draft.type, draft.data, draft.metadata, list(draft.tags)))
    return answer


def read(server, **request):
    """All events of one read."""
    return [event for answer in server.store.Read(v1.ReadRequest(**request))
            for event in answer.events]
