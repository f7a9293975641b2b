// The same interface from C++11: a store that closes itself, an iterator that ends itself, and a
// loop over the events of a stream.
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <stele.h>
#include <string>

namespace
{

struct Close {
    void operator()(stele *store) const
    {
        stele_close(store);
    }
};
struct Destroy {
    void operator()(stele_iterator *iterator) const
    {
        stele_iterator_destroy(iterator);
    }
};
using Store = std::unique_ptr<stele, Close>;
using Iterator = std::unique_ptr<stele_iterator, Destroy>;

void check(int outcome, const stele_error &err)
{
    if (outcome != STELE_OK) {
        throw std::runtime_error(std::string(stele_outcome_name(outcome)) + ": " + err.message);
    }
}

Store open(const char *path)
{
    stele *store = nullptr;
    stele_error err = {};
    check(stele_open(path, nullptr, &store, &err), err);
    return Store(store);
}

void append(const Store &store, const std::string &stream, const std::string &type,
            const std::string &data)
{
    stele_error err = {};
    stele_event_draft draft = {};
    draft.type = type.c_str();
    draft.data = data.data();
    draft.data_size = data.size();
    check(stele_append(store.get(), stream.c_str(), STELE_EXPECT_ANY, &draft, 1, nullptr, &err),
          err);
}

template <typename Function>
void each(const Store &store, const std::string &stream, Function function)
{
    stele_error err = {};
    stele_iterator *raw = nullptr;
    check(stele_read_stream(store.get(), stream.c_str(), nullptr, &raw, &err), err);
    const Iterator iterator(raw);
    const stele_event *events = nullptr;
    size_t count = 0;
    int outcome = STELE_OK;
    while ((outcome = stele_iterator_next(raw, &events, &count, &err)) == STELE_OK) {
        for (size_t i = 0; i < count; i++) {
            function(events[i]);
        }
    }
    if (outcome != STELE_END) {
        check(outcome, err);
    }
}

} // namespace

int main(int argc, char **argv)
{
    try {
        const Store store = open(argc > 1 ? argv[1] : "cplusplus-data");
        append(store, "greeting-1", "Greeted", "{\"who\":\"world\"}");
        each(store, "greeting-1", [](const stele_event &event) {
            const std::string type(event.type.data, event.type.size);
            const std::string data(static_cast<const char *>(event.data), event.data_size);
            std::printf("%s %s\n", type.c_str(), data.c_str());
        });
    } catch (const std::exception &error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
    return 0;
}
