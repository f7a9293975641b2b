/* One scavenging at a time, on a thread of its own. */
#include "server/server_internal.h"

static struct stele_server__process *process_of(struct stele_server *server)
{
    return (struct stele_server__process *)(void *)server;
}

static int on_progress(void *context, uint64_t done, uint64_t total)
{
    (void)done;
    (void)total;
    struct stele_server__scavenge *const scavenge = context;
    (void)pthread_mutex_lock(&scavenge->mutex);
    const bool stop = scavenge->stop;
    (void)pthread_mutex_unlock(&scavenge->mutex);
    return stop ? 1 : 0;
}

static void *run(void *context)
{
    struct stele_server__process *const process = context;
    struct stele_server__scavenge *const scavenge = &process->scavenge;
    struct stele_scavenge_options options = STELE_SCAVENGE_OPTIONS_INIT;
    struct stele_scavenge_result result = {.segments = 0};
    struct stele_error err = {.outcome = STELE_OK};
    (void)pthread_setname_np(pthread_self(), "scavenge");
    options.on_progress = on_progress;
    options.context = scavenge;
    const int outcome = stele_scavenge(process->store, &options, &result, &err);
    if (outcome == STELE_OK) {
        stele_server__log(
            process, STELE_SERVER_INFO,
            "scavenging is done: %llu of %llu segments rewritten, %llu events removed",
            (unsigned long long)result.segments_rewritten, (unsigned long long)result.segments,
            (unsigned long long)result.events_removed);
    } else {
        stele_server__log(process, STELE_SERVER_WARNING, "scavenging ended: %.300s",
                          err.message[0] != 0 ? err.message : "stopped");
    }
    (void)pthread_mutex_lock(&scavenge->mutex);
    scavenge->running = false;
    (void)pthread_mutex_unlock(&scavenge->mutex);
    return NULL;
}

static int start(struct stele_server *server, char out_id[37])
{
    struct stele_server__process *const process = process_of(server);
    struct stele_server__scavenge *const scavenge = &process->scavenge;
    int outcome = STELE_E_OVERLOADED;
    (void)pthread_mutex_lock(&scavenge->mutex);
    if (!scavenge->running) {
        if (scavenge->has_thread) {
            (void)pthread_join(scavenge->thread, NULL); /* It has ended. */
            scavenge->has_thread = false;
        }
        uint8_t id[16];
        stele_new_id(id);
        stele_id_to_text(id, scavenge->id);
        scavenge->stop = false;
        scavenge->running = pthread_create(&scavenge->thread, NULL, run, process) == 0;
        scavenge->has_thread = scavenge->running;
        outcome = scavenge->running ? STELE_OK : STELE_E_NO_MEMORY;
        memcpy(out_id, scavenge->id, sizeof scavenge->id);
    }
    (void)pthread_mutex_unlock(&scavenge->mutex);
    return outcome;
}

static int stop(struct stele_server *server, const char *id)
{
    struct stele_server__scavenge *const scavenge = &process_of(server)->scavenge;
    (void)pthread_mutex_lock(&scavenge->mutex);
    const bool found = scavenge->running && strcmp(scavenge->id, id) == 0;
    scavenge->stop = scavenge->stop || found;
    (void)pthread_mutex_unlock(&scavenge->mutex);
    return found ? STELE_OK : STELE_NOT_FOUND;
}

void stele_server__scavenge_init(struct stele_server__process *process)
{
    (void)pthread_mutex_init(&process->scavenge.mutex, NULL);
    process->server.scavenge_start = start;
    process->server.scavenge_stop = stop;
}

void stele_server__scavenge_deinit(struct stele_server__process *process)
{
    struct stele_server__scavenge *const scavenge = &process->scavenge;
    (void)pthread_mutex_lock(&scavenge->mutex);
    scavenge->stop = true;
    (void)pthread_mutex_unlock(&scavenge->mutex);
    if (scavenge->has_thread) {
        (void)pthread_join(scavenge->thread, NULL);
    }
    (void)pthread_mutex_destroy(&scavenge->mutex);
}
