/* What is told about a group, and what is always true of it. */
#include "subs/group_internal.h"

#include <stdlib.h>

const char *const stele_group_measurement_names[STELE_GROUP_MEASUREMENTS] = {
    "Mean",       "Median", "Fastest", "Quintile 1", "Quintile 2", "Quintile 3", "Quintile 4",
    "Quintile 5", "90%",    "95%",     "99%",        "99.5%",      "99.9%",      "Highest"};

static int compare_u32(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a;
    const uint32_t y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

void stele_group_stats(const struct stele_group *group, struct stele_group_stats *out_stats)
{
    *out_stats = (struct stele_group_stats){
        .total = group->total,
        .since_tick = group->since_tick,
        .last_checkpoint = group->checkpoint,
        .last_known = group->last_known,
        .waiting = group->waiting.count,
        .retrying = group->retries.count,
        .in_flight = group->in_flight,
        .parking = group->parking.count,
        .members = group->members_count,
    };
}

static void summarize(const struct stele_group_member *member,
                      struct stele_group_member_stats *out_stats)
{
    static const uint16_t permille[STELE_GROUP_MEASUREMENTS] = {
        0, 500, 0, 200, 400, 600, 800, 1000, 900, 950, 990, 995, 999, 1000};
    const uint32_t count =
        member->latencies_count < GROUP_LATENCIES ? member->latencies_count : GROUP_LATENCIES;
    uint32_t sorted[GROUP_LATENCIES];
    uint64_t sum = 0;
    memcpy(sorted, member->latencies, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare_u32);
    for (uint32_t i = 0; i < count; i++) {
        sum += sorted[i];
    }
    out_stats->measured = count;
    for (size_t i = 0; i < STELE_GROUP_MEASUREMENTS; i++) {
        out_stats->measurements[i] = sorted[(size_t)(count - 1) * permille[i] / 1000];
    }
    out_stats->measurements[0] = (int64_t)(sum / count);
}

bool stele_group_member_stats(const struct stele_group *group, uint32_t index,
                              struct stele_group_member_stats *out_stats)
{
    const struct stele_group_member *member = group->members;
    while (member != NULL && index > 0) {
        member = member->next;
        index--;
    }
    if (member == NULL) {
        return false;
    }
    *out_stats = (struct stele_group_member_stats){
        .member_context = member->context,
        .total = member->total,
        .since_tick = member->since_tick,
        .in_flight = member->in_flight.count,
        .capacity = member->capacity,
    };
    if (member->latencies != NULL && member->latencies_count > 0) {
        summarize(member, out_stats);
    }
    return true;
}

void stele_group_check(const struct stele_group *group)
{
    uint64_t place = group->checkpoint;
    uint64_t unfinished = 0;
    for (const struct stele_group_entry *entry = group->order_first; entry != NULL;
         entry = entry->order_next) {
        STELE_ASSERT(!entry->is_replayed);
        STELE_ASSERT(place == STELE_GROUP_NO_PLACE || entry->event->place > place); /* G2 */
        place = entry->event->place;
        unfinished++;
    }
    uint64_t in_flight = 0;
    uint32_t members = 0;
    for (const struct stele_group_member *member = group->members; member != NULL;
         member = member->next) {
        STELE_ASSERT(member->in_flight.count <= member->capacity); /* G3 */
        in_flight += member->in_flight.count;
        members++;
        for (const struct stele_group_entry *entry = member->in_flight.first; entry != NULL;
             entry = entry->next) {
            STELE_ASSERT(entry->member == member);
            STELE_ASSERT(!stele_group__is_pinned(group) ||
                         group->pins[entry->pin].member == member); /* G4 */
        }
    }
    STELE_ASSERT(members == group->members_count);
    STELE_ASSERT(in_flight == group->in_flight);
    STELE_ASSERT(unfinished <= in_flight + group->waiting.count + group->retries.count +
                                   group->parking.count); /* G1 */
}
