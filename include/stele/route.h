/* Stele: which events go where, and as what: rules and transformations. Pure: nothing here reads or
 * writes a store; <stele/process.h> runs them, one processor for each target, so that a target that is
 * away holds up nobody else.
 *
 * A rule says: events that come from this source and have this type go to these targets, through this
 * transformation. Every rule that fits counts. A target gets an event once for each transformation that
 * leads to it, however many rules say so.
 *
 * What is passed on has "$origins" in its metadata: the names of all who passed it on. An event is not
 * passed on to who is among them, so routers may point at each other.
 *
 * Example: examples/processor.c */
#ifndef STELE_ROUTE_H
#define STELE_ROUTE_H

#include <stele/process.h>

#ifdef __cplusplus
extern "C" {
#endif

#define STELE_ROUTE_ORIGINS_MAX 16u /* Names in "$origins"; further events are not passed on. */

/* What becomes of an event on its way. */
struct stele_transform {
    size_t struct_size;
    const char *name;
    const char *type; /* The type that it gets; NULL: it keeps its own. */
    /* Values of the data that others may not see: JSON pointers (RFC 6901), "/customer/email", in which
     * a name may be "*" for any one name or index. Each is replaced by the mask; every other byte stays.
     * Data that are no JSON cannot be masked, and end the call with STELE_E_INVALID rather than being
     * passed on. */
    const char *const *masked;
    size_t masked_count;
    const char *const *metadata_masked; /* The same for the metadata. */
    size_t metadata_masked_count;
    const char *mask; /* A text; NULL: null takes the place. */
    /* Instead of all of the above. *event is a copy to be changed; what it is made to point to comes
     * from memory. Pure. STELE_OK; STELE_NOT_FOUND: the event is left out; anything else ends the
     * call. */
    int (*transform)(void *context, struct stele_event *event, struct stele_memory *memory);
    void *context;
};

struct stele_route {
    size_t struct_size;
    const char *source;  /* Who the events come from: the last of their "$origins", or who routes if
                         * they have none. NULL or "*": anybody. */
    const char *pattern; /* Of the type: exact, "Abc*" (begins so), "*Abc" (ends so), "*" (any). */
    const char *const *targets; /* At least one. */
    size_t targets_count;
    const char *transform; /* Its name; NULL: the event goes as it is. */
};

struct stele_routes;

/* Checks the rules; both arrays, and what they point to, must outlive it.
 *
 * STELE_OK, STELE_E_NO_MEMORY; STELE_E_INVALID names the rule (from 0) or the transformation and what is
 * wrong: no target, a "*" in the middle, a transformation nobody knows or that is there twice, a
 * pointer that is none. */
STELE_API int stele_routes_create(struct stele_memory *memory, const struct stele_route *rules,
                                  size_t rules_count, const struct stele_transform *transforms,
                                  size_t transforms_count, struct stele_routes **out_routes,
                                  struct stele_error *err);

/* An event on its way to one target. */
struct stele_routed {
    const char *target;
    const char *transform;           /* NULL: none. */
    const struct stele_event *event; /* Transformed, with its "$origins". */
};
/* Anything but STELE_OK ends the call with it. */
typedef int (*stele_routed_callback)(void *context, const struct stele_routed *routed);

/* Calls on_routed for every way that an event takes. self: the name of who routes, which goes into
 * "$origins". only: a target's name, for its ways alone; NULL: all.
 * memory is only added to. Thread-safe as long as memory is the caller's own.
 *
 * STELE_OK         Also if the event has been everywhere already.
 * STELE_NOT_FOUND  No rule speaks of it. Not an error, but a stray event may be worth a line in a log.
 * STELE_E_LIMIT    It has been passed on STELE_ROUTE_ORIGINS_MAX times.
 * STELE_E_INVALID  A mask does not fit its data; its metadata are no JSON object. */
STELE_API int stele_routes_apply(const struct stele_routes *routes, const char *self,
                                 const char *only, const struct stele_event *event,
                                 struct stele_memory *memory, stele_routed_callback on_routed,
                                 void *context, struct stele_error *err);

/* The context and the handler of a processor that passes on to one target what the rules say. Events
 * keep stream, type, data, tags and the time at which they were created, as far as no transformation
 * changes them; events that no rule speaks of are passed over. */
struct stele_route_target {
    size_t struct_size;
    const struct stele_routes *routes;
    const char *self;   /* As above. */
    const char *target; /* Which one this is. */
    const char *prefix; /* Of the names of its streams there; NULL: none. */
};
STELE_API int stele_route_handle(void *context, const struct stele_event *event, const void *state,
                                 struct stele_process *process);

#ifdef __cplusplus
}
#endif

#endif
