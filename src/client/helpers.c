/* Small helpers of the public interface that need no store. */
#include "base/position.h"
#include "base/status.h"

#include <stele/stele.h>

#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define TEXT_OF(x) #x
#define VERSION_TEXT(major, minor, patch) TEXT_OF(major) "." TEXT_OF(minor) "." TEXT_OF(patch)

const char *stele_version(void)
{
    return VERSION_TEXT(STELE_VERSION_MAJOR, STELE_VERSION_MINOR, STELE_VERSION_PATCH);
}

uint64_t stele_position_at(int64_t time_us)
{
    /* Rounds towards the past, before 1970 too. */
    const int64_t ms = time_us / 1000 - (time_us % 1000 < 0 ? 1 : 0);
    const uint64_t next = stele_tick_of_ms(ms + 1);
    if (next == 0) {
        return 0;
    }
    const uint64_t last = next - 1 > STELE_TICK_MAX ? STELE_TICK_MAX : next - 1;
    return stele_position_make(last, STELE_PARTITIONS_MAX - 1);
}

int64_t stele_position_time(uint64_t position)
{
    const uint64_t ms = stele_position_tick(position) >> STELE_POSITION_COUNTER_BITS;
    return ((int64_t)ms + STELE_EPOCH_MS) * 1000;
}

struct stele_text stele_event_tag(const struct stele_event *event, uint32_t index)
{
    if (event == NULL) {
        return (struct stele_text){.data = NULL};
    }
    const uint8_t *at = event->tags;
    for (uint32_t i = 0; i < event->tags_count; i++) {
        if (i == index) {
            return (struct stele_text){.data = (const char *)at + 1, .size = at[0]};
        }
        at += 1 + at[0];
    }
    return (struct stele_text){.data = NULL, .size = 0};
}

void stele_new_id(uint8_t id[16])
{
    if (id == NULL) {
        return;
    }
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    /* The kernel answers up to 256 bytes whole once it has been seeded, which it waits for. */
    while (getrandom(id, 16, 0) != 16) {
    }
    const uint64_t ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    for (int i = 0; i < 6; i++) {
        id[i] = (uint8_t)(ms >> (40 - 8 * i));
    }
    id[6] = (uint8_t)((id[6] & 0x0f) | 0x70);
    id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
}
