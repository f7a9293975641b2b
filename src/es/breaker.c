/* A circuit breaker. Its contract and its picture are in <stele/saga.h>. */
#include "base/assert.h"

#include <stele/saga.h>

#include <string.h>

#define WINDOW_MS 10000u
#define CALLS_MIN 10u
#define FAILURE_PERCENT 50u
#define OPEN_MS 5000u
#define OPEN_MS_MAX 60000u
#define PROBES 1u

static uint32_t or_default(uint32_t value, uint32_t standard)
{
    return value != 0 ? value : standard;
}

void stele_breaker_init(struct stele_breaker *breaker, const struct stele_breaker_config *config)
{
    if (breaker == NULL) {
        return;
    }
    memset(breaker, 0, sizeof *breaker);
    if (config != NULL) {
        breaker->config = *config;
    }
    struct stele_breaker_config *const c = &breaker->config;
    c->window_ms = or_default(c->window_ms, WINDOW_MS);
    c->calls_min = or_default(c->calls_min, CALLS_MIN);
    c->failure_percent = or_default(c->failure_percent, FAILURE_PERCENT);
    c->open_ms = or_default(c->open_ms, OPEN_MS);
    c->open_ms_max = or_default(c->open_ms_max, OPEN_MS_MAX);
    c->probes = or_default(c->probes, PROBES);
    if (c->open_ms_max < c->open_ms) {
        c->open_ms_max = c->open_ms;
    }
    breaker->era = 1;
}

static void clear_window(struct stele_breaker *breaker)
{
    memset(breaker->calls, 0, sizeof breaker->calls);
    memset(breaker->failures, 0, sizeof breaker->failures);
}

/* Lets tenths that are over fall out of the window. A clock that went back stays in the newest one. */
static void move_window(struct stele_breaker *breaker, int64_t now_us)
{
    const int64_t slot_us = (int64_t)breaker->config.window_ms * 1000 / STELE_BREAKER_SLOTS;
    const int64_t slot = now_us / (slot_us > 0 ? slot_us : 1);
    if (slot >= breaker->slot + (int64_t)STELE_BREAKER_SLOTS) {
        clear_window(breaker);
        breaker->slot = slot;
    }
    while (breaker->slot < slot) {
        breaker->slot++;
        breaker->calls[breaker->slot % STELE_BREAKER_SLOTS] = 0;
        breaker->failures[breaker->slot % STELE_BREAKER_SLOTS] = 0;
    }
}

static void change(struct stele_breaker *breaker, int state)
{
    breaker->state = state;
    breaker->probing = 0;
    breaker->era++;
}

static void open_circuit(struct stele_breaker *breaker, int64_t now_us, uint64_t random)
{
    int64_t open_us = (int64_t)breaker->config.open_ms * 1000;
    const int64_t max_us = (int64_t)breaker->config.open_ms_max * 1000;
    for (uint32_t i = 0; i < breaker->opened && open_us < max_us; i++) {
        open_us *= 2;
    }
    open_us = open_us < max_us ? open_us : max_us;
    change(breaker, STELE_BREAKER_OPEN);
    breaker->opened++;
    breaker->until_us = now_us + open_us + (int64_t)(random % (uint64_t)(open_us / 5 + 1));
}

int stele_breaker_permit(struct stele_breaker *breaker, int64_t now_us, uint64_t *out_ticket,
                         int64_t *out_until_us)
{
    if (breaker == NULL || out_ticket == NULL) {
        return STELE_E_INVALID;
    }
    if (breaker->state == STELE_BREAKER_OPEN && now_us >= breaker->until_us) {
        change(breaker, STELE_BREAKER_HALF_OPEN);
        breaker->passed = 0;
    }
    if (breaker->state == STELE_BREAKER_HALF_OPEN) {
        if (breaker->probing && now_us < breaker->until_us) {
            *out_until_us = breaker->until_us;
            return STELE_E_OVERLOADED;
        }
        /* Each probe has an era of its own: the report of one that was taken for lost is old. */
        breaker->era++;
        breaker->probing = 1;
        breaker->until_us = now_us + (int64_t)breaker->config.open_ms * 1000;
    }
    if (breaker->state == STELE_BREAKER_OPEN) {
        *out_until_us = breaker->until_us;
        return STELE_E_OVERLOADED;
    }
    *out_ticket = breaker->era;
    return STELE_OK;
}

static void count(struct stele_breaker *breaker, int64_t now_us, int succeeded, uint64_t random)
{
    move_window(breaker, now_us);
    breaker->calls[breaker->slot % STELE_BREAKER_SLOTS]++;
    breaker->failures[breaker->slot % STELE_BREAKER_SLOTS] += succeeded ? 0 : 1;
    uint64_t calls = 0;
    uint64_t failures = 0;
    for (uint32_t i = 0; i < STELE_BREAKER_SLOTS; i++) {
        calls += breaker->calls[i];
        failures += breaker->failures[i];
    }
    if (!succeeded && calls >= breaker->config.calls_min &&
        failures * 100 >= calls * breaker->config.failure_percent) {
        open_circuit(breaker, now_us, random);
    }
}

void stele_breaker_report(struct stele_breaker *breaker, int64_t now_us, uint64_t ticket,
                          int succeeded, uint64_t random)
{
    if (breaker == NULL) {
        return;
    }
    if (ticket != breaker->era) {
        return;
    }
    STELE_ASSERT(breaker->state != STELE_BREAKER_OPEN);
    if (breaker->state == STELE_BREAKER_CLOSED) {
        count(breaker, now_us, succeeded, random);
        return;
    }
    breaker->probing = 0;
    if (!succeeded) {
        open_circuit(breaker, now_us, random);
    } else if (++breaker->passed >= breaker->config.probes) {
        change(breaker, STELE_BREAKER_CLOSED);
        clear_window(breaker);
        breaker->opened = 0;
    }
}
