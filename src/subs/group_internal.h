/* Inside the files of group.h: what a group is made of. */
#ifndef STELE_SUBS_GROUP_INTERNAL_H
#define STELE_SUBS_GROUP_INTERNAL_H

#include "subs/group.h"

#define GROUP_PINS 1024
#define GROUP_LATENCIES 512 /* The newest of a member, of which it is told how long they took. */

/* Where an entry is: in one of the group's lists, or with a member. */
enum group_state { GROUP_WAITING, GROUP_RETRY, GROUP_IN_FLIGHT, GROUP_PARKING };

struct group_list {
    struct stele_group_entry *first, *last;
    uint32_t count;
};

/* An event of the group, from being pushed until it is finished. */
struct stele_group_entry {
    /* Unfinished ones in the order of their places; replayed ones are not in it. */
    struct stele_group_entry *order_next, *order_previous;
    /* Of the list that the state says: waiting, retries, the member's, parking. */
    struct stele_group_entry *next, *previous;
    struct stele_group_entry *same_hash; /* In `ids`, once it was handed out. */
    struct stele_group_event *event;
    struct stele_group_member *member; /* GROUP_IN_FLIGHT. */
    uint64_t before;                   /* The place before it: a checkpoint if it is the first. */
    uint64_t parked_number;            /* Of a replayed one. */
    int64_t sent_at_us;
    uint32_t retries;
    uint16_t pin;
    uint8_t state;
    bool is_replayed;
    bool in_ids;
};

/* A consumer. */
struct stele_group_member {
    struct stele_group_member *next, *previous; /* In the order of joining. */
    void *context;
    struct group_list in_flight;
    uint32_t capacity;
    uint32_t pins; /* Keys that are pinned to it. */
    uint64_t total, since_tick, counting;
    uint32_t *latencies; /* ms, a ring; only with extra statistics. */
    uint32_t latencies_count;
};

/* Events whose key falls on one pin go to one member. When the pin is to move (a member joined), the
 * old one keeps it until nothing is in flight: `leaving`. */
struct group_pin {
    struct stele_group_member *member;
    uint32_t in_flight;
    bool leaving;
};

struct stele_group {
    struct stele_alloc *alloc;
    struct stele_group_settings settings;
    const struct stele_group_effects *effects;
    void *context;
    uint64_t seed;

    struct stele_group_entry *order_first, *order_last;
    struct group_list waiting, retries, parking;
    size_t waiting_size;
    uint32_t in_flight;
    bool was_full;
    struct stele_group_entry **ids;
    size_t ids_capacity, ids_count;

    struct stele_group_member *members, *members_last;
    uint32_t members_count;
    struct stele_group_member *turn; /* Round robin: whose turn it is, or NULL: the first one's. */
    struct group_pin *pins;

    uint64_t last_known; /* Place of the last event pushed. */
    uint64_t passed;     /* Everything up to it was pushed or is not wanted. */
    uint64_t checkpoint;
    bool checkpointing;
    uint64_t finished;            /* Since the last checkpoint. */
    uint64_t finished_at_writing; /* The same, when the one being written was begun. */
    int64_t checkpoint_at_us;
    uint64_t total, since_tick, counting;
};

/* ---- group_entries.c ---- */

void stele_group__list_append(struct group_list *list, struct stele_group_entry *entry);
/* at: an entry of the list, or NULL: at its end. */
void stele_group__list_insert_before(struct group_list *list, struct stele_group_entry *entry,
                                     struct stele_group_entry *at);
void stele_group__list_take_out(struct group_list *list, struct stele_group_entry *entry);

/* From when an entry is handed out until it is finished, its id finds it. */
void stele_group__add_id(struct stele_group *group, struct stele_group_entry *entry);
void stele_group__remove_id(struct stele_group *group, struct stele_group_entry *entry);

/* Two events may have one id. The one that this member holds is meant; or, late, one that was taken
 * back from it and waits to be handed out again. */
struct stele_group_entry *stele_group__find(const struct stele_group *group,
                                            const struct stele_group_member *member,
                                            const uint8_t id[16]);

/* ---- group_deliver.c ---- */

/* Whether events of a key all go to one member. */
bool stele_group__is_pinned(const struct stele_group *group);
/* The pin that an event's key falls on. */
uint16_t stele_group__pin_of(const struct stele_group *group,
                             const struct stele_group_event *event);
/* The pin is nobody's from now on. */
void stele_group__unpin(struct group_pin *pin);
/* A member has joined: the others give up what is above their share. */
void stele_group__share_pins(struct stele_group *group);

#endif
