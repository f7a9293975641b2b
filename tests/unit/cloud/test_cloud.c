/* What a CloudEvent loses on its way through a store: nothing. */
#include "cloud/cloud.h"
#include "lib/check.h"

#include <stdlib.h>
#include <string.h>

static const char *kept_of(const char *json, const char *stream, char **out_metadata)
{
    static const char *why;
    const char *name = NULL;
    json_t *const attributes = json_loads(json, JSON_DECODE_INT_AS_REAL, NULL);
    why = NULL;
    const int outcome = stele_cloud_keep(attributes, stream, out_metadata, &name, &why);
    json_decref(attributes);
    return outcome == STELE_OK ? NULL : why;
}

TEST(what_an_event_has_a_place_for_is_not_kept)
{
    char *metadata = NULL;
    CHECK(kept_of("{\"specversion\":\"1.0\",\"source\":\"order-1\",\"type\":\"T\",\"data\":{},"
                  "\"id\":\"b2a5c9f0-4e0e-4d1e-9d0a-0f9f6d1c2a10\",\"time\":\"x\",\"tags\":\"[]\","
                  "\"stream\":\"order-1\",\"revision\":\"1\",\"subject\":null}",
                  "order-1", &metadata) == NULL);
    CHECK(metadata == NULL);
}

TEST(everything_else_is_kept_with_its_type)
{
    char *metadata = NULL;
    CHECK(
        kept_of("{\"source\":\"/shop\",\"id\":\"A-1\",\"subject\":\"1\",\"retries\":3,\"dry\":true,"
                "\"least\":-2147483648}",
                "order-1", &metadata) == NULL);
    CHECK(metadata != NULL);
    bool only = false;
    json_t *const kept = stele_cloud_kept(metadata, strlen(metadata), &only);
    json_t *const expected =
        json_loads("{\"source\":\"/shop\",\"id\":\"A-1\",\"subject\":\"1\",\"retries\":3,"
                   "\"dry\":true,\"least\":-2147483648}",
                   0, NULL);
    CHECK(only);
    CHECK(json_equal(kept, expected));
    json_decref(kept);
    json_decref(expected);
    free(metadata);
}

TEST(a_source_that_names_the_stream_is_not_kept)
{
    char *metadata = NULL;
    CHECK(kept_of("{\"source\":\"caf%C3%A9%201\"}", "caf\xc3\xa9 1", &metadata) == NULL);
    CHECK(metadata == NULL);
}

TEST(what_no_cloudevent_may_have_is_refused)
{
    static const char *const wrong[] = {
        "{\"Subject\":\"1\"}",    "{\"sub_ject\":\"1\"}", "{\"\":1}",
        "{\"list\":[]}",          "{\"object\":{}}",      "{\"half\":0.5}",
        "{\"large\":2147483648}", "{\"huge\":1e300}",     "{\"small\":-2147483649}",
    };
    for (size_t i = 0; i < STELE_COUNT_OF(wrong); i++) {
        char *metadata = NULL;
        CHECK(kept_of(wrong[i], "s", &metadata) != NULL);
        CHECK(metadata == NULL);
    }
}

TEST(an_id_that_is_no_uuid_becomes_the_same_one_every_time)
{
    uint8_t one[16];
    uint8_t same[16];
    uint8_t other[16];
    CHECK_EQ(stele_cloud_id("/shop", "A-1", one), STELE_OK);
    CHECK_EQ(stele_cloud_id("/shop", "A-1", same), STELE_OK);
    CHECK_EQ(stele_cloud_id("/shopA", "-1", other), STELE_OK);
    CHECK(memcmp(one, same, 16) == 0);
    CHECK(memcmp(one, other, 16) != 0);
    CHECK_EQ(one[6] >> 4, 5);
    CHECK_EQ(one[8] >> 6, 2);
    CHECK_EQ(stele_cloud_id("/shop", "00000000-0000-0000-0000-000000000000", one), STELE_OK);
    CHECK_EQ(one[6] >> 4, 5);
    CHECK_EQ(stele_cloud_id("/x", "b2a5c9f0-4e0e-4d1e-9d0a-0f9f6d1c2a10", one), STELE_OK);
    CHECK_EQ(one[0], 0xb2);
}

TEST(the_hash_of_a_foreign_id_is_pinned)
{
    /* uuid.uuid5(uuid.UUID("3b3bdb45-2edc-5aa7-893b-b2604f33ab20"), "/shop\0A-1") in Python */
    uint8_t id[16];
    char text[37];
    CHECK_EQ(stele_cloud_id("/shop", "A-1", id), STELE_OK);
    stele_id_to_text(id, text);
    CHECK(strcmp(text, "9a62b30e-27d5-5cfe-88d6-55108dc717f7") == 0);
}

struct text {
    char bytes[64];
    size_t size;
};

static void add(void *context, const char *bytes, size_t size)
{
    struct text *const text = context;
    memcpy(text->bytes + text->size, bytes, size);
    text->size += size;
}

TEST(a_stream_and_the_source_that_names_it_are_each_others)
{
    static const char *const streams[] = {"order-1",     "a b",  "100%",
                                          "caf\xc3\xa9", "\"\\", "$$x{y}"};
    for (size_t i = 0; i < STELE_COUNT_OF(streams); i++) {
        struct text source = {.size = 0};
        char back[64];
        stele_cloud_source((struct stele_text){streams[i], strlen(streams[i])}, add, &source);
        source.bytes[source.size] = '\0';
        CHECK(strpbrk(source.bytes, " \"\\{}") == NULL);
        CHECK(stele_cloud_stream(source.bytes, back));
        CHECK(strcmp(back, streams[i]) == 0);
    }
    char back[16];
    CHECK(!stele_cloud_stream("a%00b", back));
    CHECK(!stele_cloud_stream("a%ff", back));
}

TEST(metadata_of_others_has_no_kept_attributes)
{
    static const char *const texts[] = {"", "{", "[]", "7", "{\"cloudevents\":7}", "{\"a\":1}"};
    for (size_t i = 0; i < STELE_COUNT_OF(texts); i++) {
        bool only = true;
        CHECK(stele_cloud_kept(texts[i], strlen(texts[i]), &only) == NULL);
        CHECK(!only);
    }
    bool only = true;
    json_t *const kept = stele_cloud_kept("{\"cloudevents\":{},\"a\":1}", 24, &only);
    CHECK(kept != NULL && !only);
    json_decref(kept);
}
