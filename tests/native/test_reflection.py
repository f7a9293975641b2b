"""Tools find out by themselves what the server speaks, and how it is."""

import sys

import grpc

from client import MESSAGES, Messages, Server, Service, described, failure
from harness import has, main, same
from google.protobuf import descriptor_pb2

NATIVE = "stele.v1.EventStore"
KURRENT = "event_store.client."
SERVICES = [
    KURRENT + "server_features.ServerFeatures", KURRENT + "gossip.Gossip",
    KURRENT + "streams.Streams", "kurrentdb.protocol.v2.streams.StreamsService",
    KURRENT + "persistent_subscriptions.PersistentSubscriptions",
    KURRENT + "projections.Projections", KURRENT + "users.Users",
    KURRENT + "operations.Operations", KURRENT + "monitoring.Monitoring", NATIVE,
    "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection"]


def asked(server, version="v1", **question):
    package = f"grpc.reflection.{version}."
    request = MESSAGES[package + "ServerReflectionRequest"](host="here", **question)
    service = Service(MESSAGES, server.channel, package + "ServerReflection")
    answers = list(service.ServerReflectionInfo(iter([request])))
    same(len(answers), 1)
    same(answers[0].original_request, request)
    same(answers[0].valid_host, "here")
    return answers[0]


def files_of(answer):
    return [descriptor_pb2.FileDescriptorProto.FromString(file)
            for file in answer.file_descriptor_response.file_descriptor_proto]


def learned(server, symbol):
    """Messages as a tool learns them: from nothing but what the server says."""
    files = files_of(asked(server, file_containing_symbol=symbol))
    by_name = {file.name: file for file in files}
    done = {}

    def add(name):
        for imported in by_name[name].dependency:
            add(imported)
        done.setdefault(name, by_name[name])

    add(files[0].name)
    same(sorted(done), sorted(by_name))
    return Messages(done.values())


def test_services_are_listed(stele):
    """both versions of the reflection service list every service once"""
    with Server(stele) as server:
        for version in ("v1", "v1alpha"):
            answer = asked(server, version, list_services="")
            same([service.name for service in answer.list_services_response.service], SERVICES)


def test_calls_from_learned_descriptors(stele):
    """a client that knows only what reflection told it appends and reads, natively and as KurrentDB's"""
    with Server(stele) as server:
        known = learned(server, NATIVE)
        store = Service(known, server.channel, NATIVE)
        draft = known["stele.v1.Draft"](type="Placed", data=b"{}")
        streams = [known["stele.v1.StreamAppend"](stream="order-1", events=[draft])]
        store.Append(known["stele.v1.AppendRequest"](streams=streams))
        known = learned(server, KURRENT + "streams.Streams.Read")
        options = {"stream": {"stream_identifier": {"stream_name": b"order-1"}, "start": {}},
                   "read_direction": 0, "resolve_links": False, "count": 10, "no_filter": {},
                   "uuid_option": {"string": {}}}
        store = Service(known, server.channel, KURRENT + "streams.Streams")
        answers = list(store.Read(known[KURRENT + "streams.ReadReq"](options=options)))
        same([answer.event.event.metadata["type"] for answer in answers
              if answer.HasField("event")], ["Placed"])


def test_descriptors_are_those_of_the_sources(stele):
    """each service's descriptor is what protoc makes of the sources; ours carry their comments"""
    native = described(["stele/v1/event_store.proto"], "").file
    kurrent = described(["event_store/client/streams.proto", "event_store/client/persistent.proto"],
                        "kurrent").file
    with Server(stele) as server:
        for want in [*native, *kurrent]:
            got = files_of(asked(server, file_by_filename=want.name))[0]
            if want.package == "stele.v1":
                comments = [place.leading_comments for place in got.source_code_info.location]
                assert any("Appends one request" in comment for comment in comments), comments
                got.ClearField("source_code_info")
            same(got, want)


def test_symbols_are_found(stele):
    """messages, fields, enums, their values, services and methods, nested or not, lead to their file"""
    native, persistent = "stele/v1/event_store.proto", "event_store/client/persistent.proto"
    groups = KURRENT + "persistent_subscriptions."
    with Server(stele) as server:
        for symbol, file in [
                ("stele.v1.Event", native), ("stele.v1.Event.position", native),
                ("stele.v1.Outcome", native), ("stele.v1.OUTCOME_OK", native),
                ("stele.v1.EventStore", native), ("stele.v1.EventStore.Append", native),
                ("stele.v1.AdminRequest.Scavenge", native),
                ("stele.v1.AdminRequest.Scavenge.bytes_per_second", native),
                (groups + "ReadReq.Nack.Action", persistent), (groups + "ReadReq.Nack.Park", persistent),
                ("google.protobuf.Timestamp", "google/protobuf/timestamp.proto")]:
            same(files_of(asked(server, file_containing_symbol=symbol))[0].name, file)


def test_what_is_not_there(stele):
    """what does not exist is answered as not found, and the next question is answered as well"""
    request = MESSAGES["grpc.reflection.v1.ServerReflectionRequest"]
    extension = {"containing_type": "stele.v1.Event", "extension_number": 1000}
    questions = [{"file_by_filename": "none.proto"}, {"file_containing_symbol": "stele.v1"},
                 {"file_containing_symbol": "stele.v1.Even"}, {"file_containing_symbol": ""},
                 {"file_containing_symbol": "stele.v1.EventStore.Append.x"},
                 {"file_containing_symbol": "stele.v1.Event.position.x"},
                 {"file_containing_symbol": "stele.v1."}, {"file_containing_symbol": "."},
                 {"file_containing_extension": extension},
                 {"all_extension_numbers_of_type": "stele.v1.Outcome"}]
    with Server(stele) as server:
        service = Service(MESSAGES, server.channel, "grpc.reflection.v1.ServerReflection")
        answers = list(service.ServerReflectionInfo(iter([request(**one) for one in questions])))
        same([answer.error_response.error_code for answer in answers], [5] * len(questions))
        answer = asked(server, all_extension_numbers_of_type="stele.v1.Event")
        same(answer.all_extension_numbers_response.base_type_name, "stele.v1.Event")
        same(list(answer.all_extension_numbers_response.extension_number), [])
        code, words, _ = failure(lambda: service.ServerReflectionInfo(iter([request()])))
        same(code, grpc.StatusCode.INVALID_ARGUMENT)
        has(words, "malformed")


def test_health(stele):
    """health is told of every service and of the server as a whole, once and continuously"""
    request = MESSAGES["grpc.health.v1.HealthCheckRequest"]
    with Server(stele) as server:
        health = Service(MESSAGES, server.channel, "grpc.health.v1.Health")
        for name in ["", *SERVICES]:
            same(health.Check(request(service=name)).status, 1)
        same(failure(lambda: health.Check(request(service="Nobody")))[0],
             grpc.StatusCode.NOT_FOUND)
        raw = {"request_serializer": bytes, "response_deserializer": bytes}
        for name in ("Check", "Watch"):
            call = server.channel.stream_stream(f"/grpc.health.v1.Health/{name}", **raw)
            for messages in ([], [b"\xff"]):
                same(failure(lambda: call(iter(messages), timeout=300))[0],
                     grpc.StatusCode.INVALID_ARGUMENT)
        watched = health.Watch(request(service=NATIVE))
        same(next(watched).status, 1)
        strange = health.Watch(request(service="Nobody"))
        same(next(strange).status, 3)
        strange.cancel()
        server.stop()  # The watch does not hold it up, and ends.
        code, _, _ = failure(lambda: watched)
        assert code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED), code


if __name__ == "__main__":
    main(sys.modules[__name__])
