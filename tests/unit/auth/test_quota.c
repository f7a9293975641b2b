/* A user gets what the quota says and no more, however many connections ask; others lose nothing.
 *
 * Method: the clock is the test's. Rates are measured over minutes of it, in requests of every size. */
#include "world.h"

static const int64_t second = 1000000;

TEST(requests_come_at_the_rate_with_one_second_at_once)
{
    struct stele_quota quota = {.limits = {.requests_per_s = 100}};
    int64_t now = 5 * second;
    uint32_t allowed = 0;
    for (int i = 0; i < 1000; i++) {
        allowed += stele_quota_request(&quota, now) == 0;
    }
    CHECK_EQ(allowed, 100);
    for (int i = 0; i < 10000; i++) { /* Ten seconds, asked ten times as often as is allowed. */
        now += 1000;
        allowed += stele_quota_request(&quota, now) == 0;
    }
    CHECK_EQ(allowed, 100 + 1000);
}

TEST(the_wait_that_is_told_is_the_one_after_which_it_works)
{
    struct stele_quota quota = {.limits = {.requests_per_s = 7}};
    int64_t now = second;
    for (int i = 0; i < 500; i++) {
        const int64_t wait_us = stele_quota_request(&quota, now);
        if (wait_us > 0) {
            CHECK(stele_quota_request(&quota, now + wait_us - 2) > 0);
            CHECK_EQ(stele_quota_request(&quota, now + wait_us), 0);
            now += wait_us;
        }
    }
}

TEST(without_bounds_everything_is_allowed)
{
    struct stele_quota quota = {.limits = {.requests_per_s = 0}};
    for (int i = 0; i < 100000; i++) {
        CHECK_EQ(stele_quota_request(&quota, 0), 0);
        CHECK_EQ(stele_quota_pay_bytes(&quota, UINT64_MAX, 0), 0);
        CHECK(stele_quota_call_begin(&quota));
        CHECK(stele_quota_keep(&quota, 0, (size_t)1 << 30));
    }
    CHECK_EQ(stele_quota_owed(&quota, 0), 0);
}

TEST(bytes_are_paid_for_by_waiting)
{
    struct stele_quota quota = {.limits = {.bytes_per_s = 1000000}};
    int64_t now = second;
    CHECK_EQ(stele_quota_pay_bytes(&quota, 1000000, now), 0); /* A second's worth. */
    CHECK_EQ(stele_quota_pay_bytes(&quota, 500000, now), second / 2);
    CHECK_EQ(stele_quota_owed(&quota, now), second / 2);
    CHECK_EQ(stele_quota_owed(&quota, now + second / 2), 0);
    /* Over a long time the rate holds, whatever the pieces. */
    uint64_t sent = 0;
    const int64_t begin = now;
    for (uint64_t size = 1; now < begin + 100 * second; size = size * 7 % 999983 + 1) {
        sent += size;
        now += stele_quota_pay_bytes(&quota, size, now) + 1;
    }
    CHECK(sent > UINT64_C(98000000));
    CHECK(sent < UINT64_C(102000000));
}

TEST(no_debt_is_longer_than_ten_minutes)
{
    struct stele_quota quota = {.limits = {.bytes_per_s = 1, .requests_per_s = 1}};
    CHECK_EQ(stele_quota_pay_bytes(&quota, UINT64_MAX, second), 599 * second);
    CHECK_EQ(stele_quota_pay_bytes(&quota, UINT64_MAX, second), 599 * second);
    CHECK_EQ(stele_quota_owed(&quota, 600 * second), 0);
}

TEST(calls_and_memory_come_back)
{
    struct stele_quota quota = {.limits = {.calls = 3, .memory = 1000}};
    for (int round = 0; round < 3; round++) {
        CHECK(stele_quota_call_begin(&quota));
        CHECK(stele_quota_call_begin(&quota));
        CHECK(stele_quota_call_begin(&quota));
        CHECK(!stele_quota_call_begin(&quota));
        CHECK(stele_quota_keep(&quota, 0, 600));
        CHECK(!stele_quota_keep(&quota, 0, 600));
        CHECK(stele_quota_keep(&quota, 0, 400));
        CHECK(!stele_quota_keep(&quota, 400, 401));
        CHECK(stele_quota_keep(&quota, 600, 0));
        CHECK(stele_quota_keep(&quota, 400, 0));
        for (int i = 0; i < 3; i++) {
            stele_quota_call_end(&quota);
        }
    }
    CHECK_EQ(quota.calls, 0);
    CHECK_EQ(quota.memory, 0);
}

static void *ask_often(void *argument)
{
    struct stele_quota *quota = argument;
    uint64_t allowed = 0;
    for (int i = 0; i < 200000; i++) {
        if (stele_quota_call_begin(quota)) {
            allowed += stele_quota_request(quota, second + i) == 0;
            stele_quota_call_end(quota);
        }
    }
    return (void *)(uintptr_t)allowed;
}

TEST(threads_share_what_there_is)
{
    struct stele_quota quota = {.limits = {.requests_per_s = 10000, .calls = 2}};
    pthread_t threads[3];
    uintptr_t allowed = 0;
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(pthread_create(&threads[i], NULL, ask_often, &quota), 0);
    }
    for (int i = 0; i < 3; i++) {
        void *result = NULL;
        CHECK_EQ(pthread_join(threads[i], &result), 0);
        allowed += (uintptr_t)result;
    }
    /* A second's worth at once, and 0.2 s more. */
    CHECK(allowed <= 12001);
    CHECK(allowed >= 10000);
    CHECK_EQ(quota.calls, 0);
}

/* ---- Of users ---- */

static const char *enter(struct world *world, const struct stele_principal *principal,
                         int64_t *out_retry_us)
{
    return stele_auth_enter(principal, STELE_RULE_STREAM, world->now_us, out_retry_us);
}

TEST(all_connections_of_a_user_share_one_quota_and_others_have_their_own)
{
    struct world world;
    world_make(&world);
    struct stele_auth_options options = world_options(&world);
    options.quota = (struct stele_quota_limits){.requests_per_s = 10, .calls = 100};
    world_open_auth(&world, &options);
    CHECK_EQ(add_user(&world, "ada", "password-of-ada", NULL), STELE_OK);
    struct stele_principal *ops = NULL, *ada = NULL, *again = NULL, *nobody = NULL;
    CHECK_EQ(login_as(&world, "ops", "ops-password", &ops), STELE_OK);
    CHECK_EQ(login_as(&world, "ada", "password-of-ada", &ada), STELE_OK);
    /* Another proof of the same user. */
    CHECK_EQ(ask_from(&world, NULL, "ada", "10.0.0.2:1", &again), STELE_OK);
    CHECK_EQ(ask_from(&world, NULL, NULL, "10.0.0.3:1", &nobody), STELE_OK);
    CHECK(ada != again);
    int64_t retry_us = 0;
    for (int i = 0; i < 10; i++) {
        CHECK(enter(&world, i % 2 == 0 ? ada : again, &retry_us) == NULL);
    }
    CHECK(enter(&world, ada, &retry_us) != NULL);
    CHECK_EQ(retry_us, 100000);
    CHECK(enter(&world, again, &retry_us) != NULL);
    CHECK(enter(&world, ops, &retry_us) == NULL);
    CHECK(enter(&world, nobody, &retry_us) == NULL);
    /* What anybody may call is not counted: load balancers have no credentials. */
    for (int i = 0; i < 1000; i++) {
        CHECK(stele_auth_enter(ada, STELE_RULE_ANYONE, world.now_us, &retry_us) == NULL);
        stele_auth_leave(ada, STELE_RULE_ANYONE);
    }
    struct stele_auth_counts counts;
    stele_auth_counts(world.auth, &counts);
    CHECK_EQ(counts.quota_refused, 2);
    for (int i = 0; i < 10; i++) {
        stele_auth_leave(i % 2 == 0 ? ada : again, STELE_RULE_STREAM);
    }
    stele_auth_leave(ops, STELE_RULE_STREAM);
    stele_auth_leave(nobody, STELE_RULE_STREAM);
    CHECK_EQ(stele_auth_quota(ada)->calls, 0);
    CHECK(stele_auth_quota(ada) == stele_auth_quota(again));
    stele_principal_unref(ada);
    stele_principal_unref(again);
    stele_principal_unref(ops);
    stele_principal_unref(nobody);
    world_remove(&world);
}

TEST(a_quota_outlives_the_module_with_its_principal)
{
    struct world world;
    world_make(&world);
    struct stele_auth_options options = world_options(&world);
    options.quota.calls = 1;
    world_open_auth(&world, &options);
    struct stele_principal *ops = NULL;
    int64_t retry_us = 0;
    CHECK_EQ(login_as(&world, "ops", "ops-password", &ops), STELE_OK);
    CHECK(enter(&world, ops, &retry_us) == NULL);
    CHECK(enter(&world, ops, &retry_us) != NULL);
    CHECK_EQ(retry_us, second);
    world_remove(&world);
    stele_auth_leave(ops, STELE_RULE_STREAM);
    stele_principal_unref(ops);
}
