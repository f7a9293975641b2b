/* An engine that is wound down has nothing left with any loop: whatever was asked for has been
 * answered, also when nobody waits for it, so engine and store can go.
 *
 * Method: the test owns the loop and runs it only when it wants to, so that everything is under way
 * when winding down begins. A task that came later would find an engine that is gone, or a loop that
 * is: both say so. */
#include "io/linux.h"
#include "io/linux_loop.h"
#include "lib/check.h"
#include "lib/scratch.h"
#include "server/engine.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define APPENDS 200

struct asked {
    struct stele_appending appending;
    uint32_t *answers;
};

static struct scratch scratch;
static struct stele *store;
static struct stele_engine *engine;
static struct stele_linux_loop *loop;
static struct asked asked[APPENDS];
static uint32_t answers;

static void begin(void)
{
    struct stele_error err;
    scratch_make(&scratch);
    answers = 0;
    CHECK_OK(stele_open(scratch.path, NULL, &store, &err), err);
    CHECK_OK(stele_engine_create(store, stele_linux_alloc(), &engine, &err), err);
    CHECK_OK(stele_linux_loop_create(stele_linux_alloc(), &loop, &err), err);
}

/* What is posted now, and what that posts. */
static void run_loop(void)
{
    stele_linux_loop_stop(loop);
    stele_linux_loop_run(loop);
}

static void wind_down(void)
{
    while (stele_engine_wind_down(engine) > 0) {
        run_loop();
    }
}

static void end(void)
{
    stele_engine_destroy(engine);
    CHECK_EQ(stele_close(store), 0);
    stele_linux_loop_destroy(loop); /* Asserts that nothing was posted. */
    scratch_remove(&scratch);
}

static void on_done(struct stele_appending *appending)
{
    (*((struct asked *)(void *)appending)->answers)++;
}

static void prepare(struct asked *one)
{
    *one = (struct asked){.appending = {.loop = stele_linux_loop_base(loop), .on_done = on_done},
                          .answers = &answers};
}

static void ask_append(struct asked *one)
{
    struct stele_error err;
    const struct stele_event_draft draft = {.type = "some", .data = "{}", .data_size = 2};
    const struct stele_append append = {
        .stream = "stream", .expected = STELE_EXPECT_ANY, .events = &draft, .count = 1};
    prepare(one);
    CHECK_OK(engine->ops->append(engine, &one->appending, &append, 1, NULL, 0, &err), err);
}

/* The loop commits it itself, at the end of a turn. */
TEST(an_append_alone_is_answered_before_the_engine_goes)
{
    begin();
    ask_append(&asked[0]);
    CHECK(stele_engine_wind_down(engine) > 0);
    wind_down();
    CHECK_EQ(answers, 1);
    end();
}

/* Writers of the store commit them, some while the loop has not turned yet. */
TEST(many_appends_are_answered_before_the_engine_goes)
{
    begin();
    for (size_t i = 0; i < APPENDS; i++) {
        ask_append(&asked[i]);
    }
    CHECK(stele_engine_wind_down(engine) > 0);
    wind_down();
    CHECK_EQ(answers, APPENDS);
    end();
}

TEST(deletes_are_answered_before_the_engine_goes)
{
    struct stele_error err;
    begin();
    prepare(&asked[0]);
    prepare(&asked[1]);
    CHECK_OK(engine->ops->tombstone(engine, &asked[0].appending, "one", STELE_EXPECT_ANY, &err),
             err);
    CHECK_OK(engine->ops->soft_delete(engine, &asked[1].appending, "two", STELE_EXPECT_ANY, &err),
             err);
    CHECK(stele_engine_wind_down(engine) > 0);
    wind_down();
    CHECK_EQ(answers, 2);
    end();
}

static void ask_again(struct stele_appending *appending)
{
    on_done(appending);
    ask_append(&asked[1]);
}

TEST(what_an_answer_asks_for_is_answered_too)
{
    begin();
    ask_append(&asked[0]);
    asked[0].appending.on_done = ask_again;
    wind_down();
    CHECK_EQ(answers, 2);
    end();
}

static void on_chore_done(struct stele_chore *chore)
{
    engine->ops->chore_forget(engine, chore);
    answers++;
}

TEST(a_chore_is_done_before_the_engine_goes)
{
    struct stele_error err;
    struct stele_chore chore;
    begin();
    chore = (struct stele_chore){
        .loop = stele_linux_loop_base(loop), .kind = STELE_CHORE_VERIFY, .on_done = on_chore_done};
    CHECK_OK(engine->ops->chore(engine, &chore, &err), err);
    CHECK(stele_engine_wind_down(engine) > 0);
    wind_down();
    CHECK_EQ(answers, 1);
    end();
}

/* Memory that marks the threads which ask for it, and keeps them long at their end. */
static pthread_key_t mark;
static pthread_t home;
static _Atomic uint32_t marked, ended;

static void at_end(void *value)
{
    (void)value;
    (void)usleep(50 * 1000);
    ended++;
}

static void *reallocate_marking(struct stele_alloc *self, void *old, size_t old_size,
                                size_t new_size)
{
    struct stele_alloc *const alloc = stele_linux_alloc();
    if (pthread_self() != home && pthread_getspecific(mark) == NULL) {
        CHECK_EQ(pthread_setspecific(mark, self), 0);
        marked++;
    }
    return alloc->reallocate(alloc, old, old_size, new_size);
}

static void on_chore_found(struct stele_chore *chore)
{
    CHECK_EQ(chore->damages_count, 1);
    CHECK_EQ(marked, 1);
    CHECK_EQ(ended, marked);
    on_chore_done(chore);
}

/* A library (OpenSSL, say) frees what it keeps for a thread when that ends: it is over before it is
 * answered, so that nothing of it is left when the process exits. */
TEST(the_thread_of_a_chore_has_ended_when_it_is_answered)
{
    struct stele_alloc marking = {.reallocate = reallocate_marking};
    const struct stele_event_draft draft = {.type = "some", .data = "{}", .data_size = 2};
    struct stele_error err;
    struct stele_chore chore;
    scratch_make(&scratch);
    answers = 0;
    home = pthread_self();
    CHECK_EQ(pthread_key_create(&mark, at_end), 0);
    CHECK_OK(stele_open(scratch.path, NULL, &store, &err), err);
    CHECK_OK(stele_append(store, "stream", STELE_EXPECT_ANY, &draft, 1, NULL, &err), err);
    CHECK_OK(stele_engine_create(store, &marking, &engine, &err), err);
    CHECK_OK(stele_linux_loop_create(stele_linux_alloc(), &loop, &err), err);
    chore = (struct stele_chore){
        .loop = stele_linux_loop_base(loop), .kind = STELE_CHORE_VERIFY, .on_done = on_chore_found};
    /* A digest that is not this store's is a damage, and a damage is kept: in this memory. */
    CHECK_OK(stele_digest(store, chore.against, &err), err);
    char *const last = chore.against + strlen(chore.against) - 1;
    *last = *last == '0' ? '1' : '0';
    CHECK_OK(engine->ops->chore(engine, &chore, &err), err);
    wind_down();
    CHECK_EQ(answers, 1);
    end();
    CHECK_EQ(pthread_key_delete(mark), 0);
}

static void on_visible(struct stele_watch *watch)
{
    (void)watch;
    answers++;
}

TEST(a_loop_that_was_to_tell_its_watches_does_so_before_the_engine_goes)
{
    struct stele_error err;
    begin();
    struct stele_watch watch = {.on_visible = on_visible, .loop = stele_linux_loop_base(loop)};
    const struct stele_event_draft draft = {.type = "some", .data = "{}", .data_size = 2};
    engine->ops->watch_start(engine, &watch);
    CHECK_OK(stele_append(store, "stream", STELE_EXPECT_ANY, &draft, 1, NULL, &err), err);
    CHECK_EQ(stele_engine_wind_down(engine), 1);
    /* From here on it is told nothing. */
    CHECK_OK(stele_append(store, "stream", STELE_EXPECT_ANY, &draft, 1, NULL, &err), err);
    wind_down();
    CHECK_EQ(answers, 1);
    engine->ops->watch_stop(engine, &watch);
    end();
}
