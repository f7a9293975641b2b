/* gRPC's library for C++ reads all events by KurrentDB's protocol, one message each. Messages are taken as
 * bytes and of each the first one is looked at; a program that decodes them gets less. */
#include "grpc_read.h"

#include <chrono>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <string>

namespace
{

/* Everything from the start, at most so many, structured ids, no filter. */
std::string request_of(uint64_t events)
{
    std::string count;
    for (; events >= 0x80; events >>= 7) {
        count += static_cast<char>(events | 0x80);
    }
    count += static_cast<char>(events);
    const std::string options = std::string("\x12\x02\x12\x00", 4) + '\x28' + count +
                                std::string("\x42\x00\x4a\x02\x0a\x00", 6);
    return std::string("\x0a", 1) + static_cast<char>(options.size()) + options;
}

bool is_event(const grpc::ByteBuffer &message)
{
    grpc::Slice slice;
    return message.TrySingleSlice(&slice).ok() ? slice.size() > 0 && *slice.begin() == 0x0a
                                               : message.Length() > 64;
}

bool read_all(grpc::GenericStub *generic, uint64_t limit, uint64_t *out_events)
{
    grpc::CompletionQueue queue;
    grpc::ClientContext context;
    const grpc::Slice slice(request_of(limit));
    const grpc::ByteBuffer request(&slice, 1);
    grpc::ByteBuffer message;
    grpc::Status status;
    void *tag = nullptr;
    bool good = false;
    const auto step = [&] { return queue.Next(&tag, &good) && good; };
    const auto call =
        generic->PrepareCall(&context, "/event_store.client.streams.Streams/Read", &queue);
    call->StartCall(&queue);
    if (!step()) {
        return false;
    }
    call->WriteLast(request, grpc::WriteOptions(), &queue);
    if (!step()) {
        return false;
    }
    for (call->Read(&message, &queue); step(); call->Read(&message, &queue)) {
        *out_events += is_event(message) ? 1 : 0;
    }
    call->Finish(&status, &queue);
    return step() && status.ok();
}

} // namespace

int grpc_read_all(uint16_t port, uint64_t limit, uint64_t *out_events)
{
    const auto channel = grpc::CreateChannel("127.0.0.1:" + std::to_string(port),
                                             grpc::InsecureChannelCredentials());
    if (!channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(5))) {
        return 0;
    }
    grpc::GenericStub generic(channel);
    return read_all(&generic, limit, out_events) ? 1 : 0;
}
