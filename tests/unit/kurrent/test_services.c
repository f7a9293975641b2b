/* ServerFeatures lists what works and nothing else; Gossip names one leader. */
#include "bench.h"
#include "lib/check.h"

static struct bench bench;
static struct stele_exchange exchange;

TEST(the_features_are_the_methods_that_the_table_has)
{
    EventStore__Client__Empty empty = EVENT_STORE__CLIENT__EMPTY__INIT;
    bench_open(&bench);
    bench_call(&bench, &exchange,
               "/event_store.client.server_features.ServerFeatures/GetSupportedMethods", "");
    bench_send(&bench, &exchange, &empty);
    EventStore__Client__ServerFeatures__SupportedMethods *methods = bench_next(
        &bench, &exchange, &event_store__client__server_features__supported_methods__descriptor);
    CHECK_TEXT_EQ(methods->event_store_server_version, "26.1.0");
    static const char *const want[][3] = {
        {"getsupportedmethods", "event_store.client.server_features.serverfeatures", NULL},
        {"read", "event_store.client.gossip.gossip", NULL},
        {"read", "event_store.client.streams.streams", "position"},
        {"append", "event_store.client.streams.streams", NULL},
        {"batchappend", "event_store.client.streams.streams", "deadline_duration"},
        {"delete", "event_store.client.streams.streams", NULL},
        {"tombstone", "event_store.client.streams.streams", NULL},
        {"appendsession", "kurrentdb.protocol.v2.streams.streamsservice", NULL},
        {"appendrecords", "kurrentdb.protocol.v2.streams.streamsservice", NULL},
    };
    CHECK_EQ(methods->n_methods, STELE_COUNT_OF(want));
    for (size_t i = 0; i < STELE_COUNT_OF(want); i++) {
        CHECK_TEXT_EQ(methods->methods[i]->method_name, want[i][0]);
        CHECK_TEXT_EQ(methods->methods[i]->service_name, want[i][1]);
        CHECK_EQ(methods->methods[i]->n_features > 0, want[i][2] != NULL);
        if (want[i][2] != NULL) {
            CHECK_TEXT_EQ(methods->methods[i]->features[0], want[i][2]);
        }
    }
    bench_free(methods);
    CHECK_EQ(bench_status(&bench, &exchange), 0);
    fake_close(bench.grpc, &exchange);
    bench_close(&bench);
}

TEST(gossip_names_one_leader_that_clients_can_reach)
{
    EventStore__Client__Empty empty = EVENT_STORE__CLIENT__EMPTY__INIT;
    bench_open(&bench);
    bench_call(&bench, &exchange, "/event_store.client.gossip.Gossip/Read", "");
    bench_send(&bench, &exchange, &empty);
    EventStore__Client__Gossip__ClusterInfo *info =
        bench_next(&bench, &exchange, &event_store__client__gossip__cluster_info__descriptor);
    CHECK_EQ(info->n_members, 1);
    const EventStore__Client__Gossip__MemberInfo *member = info->members[0];
    CHECK_EQ(member->state, EVENT_STORE__CLIENT__GOSSIP__MEMBER_INFO__VNODE_STATE__Leader);
    CHECK_EQ(member->is_alive, 1);
    CHECK_TEXT_EQ(member->http_end_point->address, "node.example");
    CHECK_EQ(member->http_end_point->port, 2113);
    CHECK_EQ(member->instance_id->structured->most_significant_bits, 0x0102030405060708);
    CHECK(member->time_stamp > INT64_C(16000000000000000));
    bench_free(info);
    fake_close(bench.grpc, &exchange);
    bench_close(&bench);
}
