/* Names of hosts. Looking one up waits, for many seconds if a name server is silent, so each is looked up
 * by a thread that nobody waits for. It belongs to no loop and no allocator, which may be gone when
 * it ends: what it needs is in its job, and who comes second, it or the one that asked, frees that. */
#include "peers/peers_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define STACK_SIZE ((size_t)512 * 1024)
#define POLL_US INT64_C(5000)

enum { PENDING, DONE, ABANDONED };

struct stele_peers__job {
    atomic_int state;
    char host[STELE_PEERS_HOST_MAX + 1];
    char port[8];
    struct stele_peers__addresses addresses;
    char words[160];
};

static void look_up(struct stele_peers__job *job, int flags)
{
    const struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | flags};
    struct addrinfo *found = NULL;
    int failed = getaddrinfo(job->host, job->port, &hints, &found);
    if (failed != 0 && strcasecmp(job->host, "localhost") == 0) {
        /* A system without /etc/hosts; what it means is fixed (RFC 6761, section 6.3). */
        failed = getaddrinfo("127.0.0.1", job->port, &hints, &found);
    }
    if (failed != 0) {
        (void)snprintf(job->words, sizeof job->words, "%s",
                       failed == EAI_SYSTEM ? "the system cannot look it up"
                                            : gai_strerror(failed));
        return;
    }
    struct stele_peers__addresses *const to = &job->addresses;
    for (const struct addrinfo *a = found; a != NULL && to->count < STELE_PEERS__ADDRESSES_MAX;
         a = a->ai_next) {
        if (a->ai_addrlen <= sizeof to->list[0]) {
            memcpy(&to->list[to->count], a->ai_addr, a->ai_addrlen);
            to->sizes[to->count++] = a->ai_addrlen;
        }
    }
    freeaddrinfo(found);
    if (to->count == 0) {
        (void)snprintf(job->words, sizeof job->words, "it has no address");
    }
}

static void *run(void *context)
{
    struct stele_peers__job *const job = context;
    look_up(job, 0);
    if (atomic_exchange(&job->state, DONE) == ABANDONED) {
        free(job);
    }
    return NULL;
}

bool stele_peers__resolve_numeric(const char *host, uint16_t port,
                                  struct stele_peers__addresses *out)
{
    struct stele_peers__job job = {.words = ""};
    (void)snprintf(job.host, sizeof job.host, "%s", host);
    (void)snprintf(job.port, sizeof job.port, "%u", port);
    if (strcasecmp(host, "localhost") == 0) {
        return false; /* Both of its addresses count. */
    }
    look_up(&job, AI_NUMERICHOST);
    if (job.words[0] != '\0') {
        return false;
    }
    *out = job.addresses;
    return true;
}

struct stele_peers__job *stele_peers__resolve_begin(const char *host, uint16_t port)
{
    struct stele_peers__job *const job = calloc(1, sizeof *job);
    if (job == NULL) {
        return NULL;
    }
    atomic_init(&job->state, PENDING);
    (void)snprintf(job->host, sizeof job->host, "%s", host);
    (void)snprintf(job->port, sizeof job->port, "%u", port);
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    (void)pthread_attr_setstacksize(&attributes, STACK_SIZE);
    /* Signals are for those threads that wait for them. */
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    const int failed = pthread_create(&thread, &attributes, run, job);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_attr_destroy(&attributes);
    if (failed != 0) {
        free(job);
        return NULL;
    }
    return job;
}

bool stele_peers__resolve_poll(struct stele_peers__job *job, struct stele_peers__addresses *out,
                               char *words, size_t words_size)
{
    if (atomic_load(&job->state) == PENDING) {
        return false;
    }
    (void)snprintf(words, words_size, "%s", job->words);
    *out = job->addresses;
    free(job);
    return true;
}

void stele_peers__resolve_abandon(struct stele_peers__job *job)
{
    if (job != NULL && atomic_exchange(&job->state, ABANDONED) == DONE) {
        free(job);
    }
}

/* ---- Targets ---- */

/* By a timer: a task that the thread had posted could outlive everything that it is about. */
static void on_poll(struct stele_timer *timer)
{
    struct stele_peers__target *const target =
        (struct stele_peers__target *)(void *)((uint8_t *)timer -
                                               offsetof(struct stele_peers__target, poll));
    char words[160] = "no thread can be started";
    if (target->job != NULL &&
        !stele_peers__resolve_poll(target->job, &target->addresses, words, sizeof words)) {
        stele_peers__timer(target->peers, timer, POLL_US);
        return;
    }
    target->job = NULL;
    target->next = 0;
    target->left = words[0] == '\0' ? target->addresses.count : 0;
    target->on_resolved(target, words);
}

const struct sockaddr *stele_peers__target_pick(struct stele_peers__target *target,
                                                socklen_t *out_size, uint32_t *out_index)
{
    if (target->poll.place != 0) {
        return NULL; /* It is being looked up. */
    }
    if (target->left == 0) {
        target->next = 0;
        if (stele_peers__resolve_numeric(target->host, target->port, &target->addresses)) {
            target->left = target->addresses.count;
        } else {
            target->job = stele_peers__resolve_begin(target->host, target->port);
            target->poll.on_due = on_poll;
            stele_peers__timer(target->peers, &target->poll, target->job != NULL ? 1000 : 0);
            return NULL;
        }
    }
    STELE_ASSERT(target->next < target->addresses.count);
    *out_size = target->addresses.sizes[target->next];
    *out_index = target->next;
    return (const struct sockaddr *)(const void *)&target->addresses.list[target->next];
}

void stele_peers__target_failed(struct stele_peers__target *target, uint32_t index)
{
    /* The other lane has tried the same one, or it is of an older answer. */
    if (target->left > 0 && index == target->next) {
        target->left--;
        target->next = (target->next + 1) % target->addresses.count;
    }
}

void stele_peers__target_worked(struct stele_peers__target *target)
{
    target->left = target->addresses.count;
}

void stele_peers__target_deinit(struct stele_peers__target *target)
{
    stele_peers__timer_stop(target->peers, &target->poll);
    stele_peers__resolve_abandon(target->job);
    target->job = NULL;
}
