/* Stele: aggregates as pure functions over events.
 *
 * What happens in a system is written down as a *fold* (a state, and how each event changes it) and a
 * *decider* (which events a command causes in a given state, or why it is refused). Nothing here
 * reads, writes, waits or looks at a clock: the same events give the same state, the same state and
 * command the same events, always. <stele/run.h> runs deciders on a store; <stele/testing.h> tests
 * them without one.
 *
 * Conventions of this header:
 *  - Callbacks get the `context` of their struct first. They must be pure: called again with the
 *    same arguments they do the same, also on several threads at once.
 *  - Structs that the caller fills begin with struct_size: set everything to zero, then struct_size
 *    to sizeof of the struct, then what is wanted. They, and what they point to, must outlive
 *    everything that was made from them; static const is the normal place.
 *  - Memory comes from a struct stele_memory and is released with it, at once. Objects that were made
 *    in one are gone with it; they are not destroyed one by one. One thread at a time may use a
 *    memory and what was made in it.
 *
 * Example: examples/aggregate.c */
#ifndef STELE_ES_H
#define STELE_ES_H

#include <stele/stele.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Memory ------------------------------------------------------------------------------ */

struct stele_memory;

/* NULL when there is no memory. */
STELE_API struct stele_memory *stele_memory_create(void);
/* Releases everything that was made in it. NULL is fine. */
STELE_API void stele_memory_destroy(struct stele_memory *memory);

/* Aligned to 16, not initialised; NULL when there is no memory. A size of 0 gets an address, too. */
STELE_API void *stele_memory_allocate(struct stele_memory *memory, size_t size);
/* A copy, with a zero behind it that is not counted: so texts of events become C strings. */
STELE_API void *stele_memory_copy(struct stele_memory *memory, const void *data, size_t size);
/* Bytes taken from the system so far. */
STELE_API size_t stele_memory_size(const struct stele_memory *memory);

/* Bytes that a callback hands out. STELE_OK or STELE_E_NO_MEMORY. */
struct stele_output;
STELE_API int stele_output_write(struct stele_output *output, const void *data, size_t size);
STELE_API int stele_output_printf(struct stele_output *output, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 2, 3)))
#endif
    ;
/* The text as a JSON string, quotes included. What is not UTF-8 becomes U+FFFD. */
STELE_API int stele_output_json_string(struct stele_output *output, const char *text, size_t size);

/* ---- Reading a JSON object without a parser's tree ---------------------------------------- */

/* Finds the member of a JSON object by name, looking at the outermost object only. *out_value is the
 * text of its value as it stands in the object (a string with its quotes and escapes).
 *
 * STELE_OK, STELE_NOT_FOUND; STELE_E_INVALID: this is no JSON object, as far as it was looked at. */
STELE_API int stele_json_member(const void *json, size_t size, const char *name,
                                struct stele_text *out_value);
/* The same, for a value that is an integer or a string; a string is unescaped into the memory and
 * ends with a zero. STELE_E_INVALID also when the value is something else or does not fit. */
STELE_API int stele_json_integer(const void *json, size_t size, const char *name, int64_t *out);
STELE_API int stele_json_string(const void *json, size_t size, const char *name,
                                struct stele_memory *memory, struct stele_text *out);

/* ---- Event types ------------------------------------------------------------------------- */

/* What is known of one type of event. */
struct stele_event_type {
    size_t struct_size;
    const char *type; /* "AccountOpened". */
    uint32_t version; /* Of the form that is written today. 0 or 1: the first one. From 2 on, new
                          * events carry it as the member "version" of their metadata. */
    const char
        *schema;   /* JSON Schema of the data, or NULL: anything goes. See docs/aggregates.md for
                          * the keywords that are known; others are refused, not ignored. */
    void *context; /* For both functions. */
    /* Bytes of an event into the caller's own struct, called a fact; NULL: the fold gets the bytes
     * only. fact has fact_size bytes, zeroed. What it points to comes from memory, and lives as long
     * as the call of evolve. STELE_OK; anything else ends the fold with that outcome. */
    size_t fact_size;
    int (*decode)(void *context, const struct stele_event *event, void *fact,
                  struct stele_memory *memory);
    /* The way back, for stele_decision_emit_fact(). */
    int (*encode)(void *context, const void *fact, struct stele_output *data);
};

#define STELE_REGISTRY_STRICT 1u /* Types that are not in it are refused at appending. */

struct stele_registry;

/* Checks and compiles the schemas. A type may be named once.
 * STELE_OK; STELE_E_INVALID names the type, the place in its schema and the keyword. */
STELE_API int stele_registry_create(struct stele_memory *memory,
                                    const struct stele_event_type *types, size_t count,
                                    unsigned flags, struct stele_registry **out_registry,
                                    struct stele_error *err);
/* Would an event of this type with these data be right? Thread-safe.
 * STELE_OK; STELE_E_INVALID: the message has the type, the place in the data and what was expected. */
STELE_API int stele_registry_check(const struct stele_registry *registry, const char *type,
                                   const void *data, size_t data_size, struct stele_error *err);
/* NULL: it is not in the registry. */
STELE_API const struct stele_event_type *stele_registry_find(const struct stele_registry *registry,
                                                             struct stele_text type);

/* ---- Upcasters --------------------------------------------------------------------------- */

/* What an upcaster makes of one event. */
struct stele_upcast;

/* Hands out one event in the place of the old one; none handed out means that the event is left out.
 * Start from a copy of the old one and change type, data, metadata as needed (memory for them:
 * stele_upcast_memory()); position, revision and id stay those of the stored event whatever is set.
 * version: that of what is handed out, 0 where the type alone tells. It is upcast again if there is
 * an upcaster for it, so chains form by themselves. */
STELE_API int stele_upcast_emit(struct stele_upcast *upcast, const struct stele_event *event,
                                uint32_t version);
/* Memory that lives until what was handed out has been folded. */
STELE_API struct stele_memory *stele_upcast_memory(struct stele_upcast *upcast);

/* How events of an older form are read as those of the next one. */
struct stele_upcaster {
    size_t struct_size;
    const char *type; /* What it takes. */
    uint32_t version; /* 0: every event of the type, and then what it hands out must be of another
                       * type. Otherwise events of this version alone (the member "version" of the
                       * metadata, 1 if there is none), and what it hands out is of a higher one. */
    void *context;
    /* STELE_OK; anything else ends the fold with that outcome. NULL with defaults. */
    int (*upcast)(void *context, const struct stele_event *event, struct stele_upcast *upcast);
    const char *defaults; /* Instead of upcast: a JSON object. Its members are added to the data
                           * where they are missing. With version 0 they are added to every event of
                           * the type, which stays of that type. */
};

#define STELE_UPCAST_CHAIN_MAX 64u /* Steps from a stored event to what is folded. */

struct stele_upcasters;

/* Any order. STELE_OK; STELE_E_INVALID: two take the same, or defaults are no JSON object. */
STELE_API int stele_upcasters_create(struct stele_memory *memory,
                                     const struct stele_upcaster *upcasters, size_t count,
                                     struct stele_upcasters **out_upcasters,
                                     struct stele_error *err);

/* Called for each event that an event has become, in order. */
typedef int (*stele_upcast_callback)(void *context, const struct stele_event *event,
                                     uint32_t version);
/* Upcasts one event to the end of its chains. Thread-safe as long as memory is the caller's own; it
 * is only added to. Returns what the callback or an upcaster returned, if it was not STELE_OK. */
STELE_API int stele_upcasters_apply(const struct stele_upcasters *upcasters,
                                    const struct stele_event *event, struct stele_memory *memory,
                                    stele_upcast_callback on_event, void *context,
                                    struct stele_error *err);

/* ---- Folds ------------------------------------------------------------------------------- */

/* When an event counts, where that is not when it was stored. */
struct stele_effective {
    int64_t effective_us; /* Microseconds since 1970. 0: when it was stored; of a correction, when
                           * what it corrects counts. */
    int corrects;         /* 1: this event takes the place of the one with the id below. */
    int cancels;          /* 1: that one counts no longer, and this one is not folded itself. */
    uint8_t id[16];
};

/* A state, and how it comes about. */
struct stele_fold {
    size_t struct_size;
    const char *name; /* "account": in names of snapshots, in metrics, in errors. */
    uint32_t version; /* Raise it when evolve, the codecs or the state's layout change: snapshots of
                        * other versions are not used, the events are folded again. */
    const char *shape; /* Anything else that such a change would change, for example the text of the
                        * state's schema; part of the fingerprint. May be NULL. */
    size_t state_size; /* Bytes of the state, not 0. What it points to comes from its memory. */
    void *context;
    /* Fills a state that is zeroed; NULL: zeros are the initial state. */
    int (*initial)(void *context, void *state, struct stele_memory *memory);
    /* Changes the state as the event says. Events that mean nothing to the fold are passed over.
     * fact is what the registry's codec made of it, or NULL. Both are borrowed for the call; what is
     * to stay is copied into memory. STELE_OK; anything else ends the fold with that outcome. */
    int (*evolve)(void *context, void *state, const struct stele_event *event, const void *fact,
                  struct stele_memory *memory);
    /* State to bytes and back, for snapshots. Both NULL: the state's own bytes, so it must not
     * contain pointers. decode gets a zeroed state. */
    int (*encode)(void *context, const void *state, struct stele_output *output);
    int (*decode)(void *context, void *state, const void *data, size_t size,
                  struct stele_memory *memory);
    const struct stele_registry *registry;   /* For its codecs; may be NULL. */
    const struct stele_upcasters *upcasters; /* May be NULL. */
    /* For folding in effective order. NULL: members of the metadata, "effective" (RFC 3339),
     * "corrects" and "cancels" (the id of an event). */
    int (*effective)(void *context, const struct stele_event *event, struct stele_effective *out);
};

/* Identifies name, version, shape and state_size. */
STELE_API uint64_t stele_fold_fingerprint(const struct stele_fold *fold);

/* A state with the place up to which events were folded into it. */
struct stele_state;

/* STELE_OK; STELE_E_INVALID (the fold lacks something), STELE_E_NO_MEMORY, or what initial returned. */
STELE_API int stele_state_create(struct stele_memory *memory, const struct stele_fold *fold,
                                 struct stele_state **out_state, struct stele_error *err);
/* Folds events into it, upcast, in the order given. On anything but STELE_OK the state is one that
 * may have seen a part of the event; it is not to be used, and stele_state_value() gives NULL. */
STELE_API int stele_state_apply(struct stele_state *state, const struct stele_event *events,
                                size_t count, struct stele_error *err);
/* The caller's struct. NULL after a failed apply. */
STELE_API const void *stele_state_value(const struct stele_state *state);
/* Stored events folded into it, those behind a snapshot included. */
STELE_API uint64_t stele_state_count(const struct stele_state *state);
/* Of the last stored event; STELE_EXPECT_NO_STREAM if there was none. */
STELE_API uint64_t stele_state_revision(const struct stele_state *state);
/* Of the last stored event, 0 if there was none. */
STELE_API uint64_t stele_state_position(const struct stele_state *state);
STELE_API const struct stele_fold *stele_state_fold(const struct stele_state *state);

/* Snapshots: the state's bytes, and a state that goes on from them. The fingerprint is not in the
 * bytes: keep it beside them and compare before decoding. Data of encode are borrowed from the state
 * until the next call with it. */
STELE_API int stele_state_encode(struct stele_state *state, struct stele_text *out_data,
                                 struct stele_error *err);
STELE_API int stele_state_decode(struct stele_memory *memory, const struct stele_fold *fold,
                                 const void *data, size_t size, uint64_t count, uint64_t revision,
                                 uint64_t position, struct stele_state **out_state,
                                 struct stele_error *err);

/* Folds events into a fresh state in the order in which they count: by effective time, events of the
 * same time in stored order. An event that corrects another one takes its place and, unless it has
 * an effective time of its own, its time; the last correction wins, corrections of corrections too.
 *
 * Two times can be asked about, each 0 for no bound: known_at, a position (nothing stored later was
 * known then), and until_us, microseconds since 1970 (nothing that counts later). So the balance of
 * March as it was known in March, and the same as it is known today.
 *
 * events are in stored order and must stay where they are during the call. */
STELE_API int stele_state_apply_effective(struct stele_state *state,
                                          const struct stele_event *events, size_t count,
                                          uint64_t known_at, int64_t until_us,
                                          struct stele_error *err);

/* ---- Deciders ---------------------------------------------------------------------------- */

struct stele_decision;

/* A stream that a command says beforehand it needs. */
struct stele_declared {
    const char *stream;
    const struct stele_fold *fold;
};

/* A command, as a decider sees it. */
struct stele_command {
    size_t struct_size;
    const char *type; /* "Withdraw": in metrics, traces and errors. */
    const void *data; /* The caller's struct, or bytes. */
    size_t data_size;
    const char *stream;                    /* The stream the command is about; may be NULL. */
    const struct stele_declared *declared; /* Further streams, loaded before decide is called; */
    size_t declared_count;                 /* decide may ask for others while it runs. */
    int64_t time_us; /* When it is decided, the same in every attempt. 0: the runner fills it. */
    uint8_t id[16];  /* Zeros: the runner makes one. The ids of its events follow from it. */
};

struct stele_decider {
    size_t struct_size;
    const char *name; /* "account". */
    void *context;
    const struct stele_fold
        *fold; /* Of the command's stream; loaded before decide is called. NULL if
                                    * decide asks for everything itself. */
    /* Emits events and returns STELE_OK (no events: nothing is to be done); or returns what
     * stele_decision_reject() returned; or STELE_INCOMPLETE, when a state it asked for was not there
     * yet: then it is called again from the start. Any other outcome ends the command with it. */
    int (*decide)(void *context, const struct stele_command *command,
                  struct stele_decision *decision);
    const struct stele_registry *registry; /* What it emits is checked against; may be NULL. */
};

/* The state of a stream, folded from all of its events; an empty or missing stream has the initial
 * state. NULL: it has to be loaded first; return STELE_INCOMPLETE. Each stream that was asked for is
 * loaded once, and the append only succeeds if none of them has changed. The name is copied. */
STELE_API const void *stele_decision_state(struct stele_decision *decision, const char *stream,
                                           const struct stele_fold *fold);
/* Its last revision, STELE_EXPECT_NO_STREAM if it has no events or was not loaded yet. */
STELE_API uint64_t stele_decision_revision(const struct stele_decision *decision,
                                           const char *stream);
/* The state folded from all events of the store that match one of the items, in the order of the
 * store. The append only succeeds if no further one has come. NULL as above; the items are copied. */
STELE_API const void *stele_decision_query(struct stele_decision *decision,
                                           const struct stele_query_item *items, size_t count,
                                           const struct stele_fold *fold);

/* Has the event appended to the stream; what the draft points to is copied. An id of zeros is filled
 * in. The stream joins the check if it was asked for, otherwise it is appended to whatever its
 * revision is. STELE_OK; STELE_E_NO_MEMORY, STELE_E_LIMIT, STELE_E_INVALID end the command. */
STELE_API int stele_decision_emit(struct stele_decision *decision, const char *stream,
                                  const struct stele_event_draft *draft);
/* The same with JSON or other bytes as data, and nothing else. */
STELE_API int stele_decision_emit_data(struct stele_decision *decision, const char *stream,
                                       const char *type, const void *data, size_t size);
/* The same with data that the codec of the decider's registry makes of a fact. */
STELE_API int stele_decision_emit_fact(struct stele_decision *decision, const char *stream,
                                       const char *type, const void *fact);
/* Has the append fail, and the command be decided again, if an event that matches exists after a
 * position. */
STELE_API int stele_decision_condition(struct stele_decision *decision,
                                       const struct stele_condition *condition);
/* Refuses the command, for a reason in words. Returns STELE_REJECTED. */
STELE_API int stele_decision_reject(struct stele_decision *decision, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 2, 3)))
#endif
    ;
/* Memory that lives as long as the decision. */
STELE_API struct stele_memory *stele_decision_memory(struct stele_decision *decision);

/* ---- Running a decision without a store --------------------------------------------------- */

/* The command runner and the test kit are both made of these calls: create, then run; while it
 * answers STELE_INCOMPLETE, supply what is wanted and run again. */
STELE_API int stele_decision_create(struct stele_memory *memory,
                                    const struct stele_decider *decider,
                                    const struct stele_command *command,
                                    struct stele_decision **out_decision, struct stele_error *err);
/* STELE_OK: see stele_decision_events(). STELE_REJECTED: see stele_decision_reason(), also in err.
 * STELE_INCOMPLETE: see stele_decision_wanted(). Anything else is an error with words in err. */
STELE_API int stele_decision_run(struct stele_decision *decision, struct stele_error *err);

/* What the decision depends on. */
struct stele_wanted {
    const char *stream;                   /* NULL: a query. */
    const struct stele_query_item *items; /* Of a query. */
    size_t items_count;
    const struct stele_fold *fold;
    struct stele_state *state; /* NULL: to be supplied. */
    uint64_t after;            /* The position up to which a query was read. */
};
/* Number index, from 0, of what was asked for; STELE_NOT_FOUND past the last. */
STELE_API int stele_decision_wanted(const struct stele_decision *decision, size_t index,
                                    struct stele_wanted *out_wanted);
/* The state is borrowed until the decision is gone. position is that of the read: for a query, the
 * last one that was looked at, whether it matched or not. NULL takes a state back: it is stale. */
STELE_API int stele_decision_supply(struct stele_decision *decision, size_t index,
                                    struct stele_state *state, uint64_t position);

/* What was emitted by the last run, in order. */
struct stele_emitted {
    const char *stream;
    struct stele_event_draft draft; /* tags and so on as they were emitted. */
};
STELE_API const struct stele_emitted *stele_decision_events(const struct stele_decision *decision,
                                                            size_t *out_count);
/* Conditions that were set explicitly by the last run; those of queries are in wanted. */
STELE_API const struct stele_condition *
stele_decision_conditions(const struct stele_decision *decision, size_t *out_count);
/* Why it was refused; "" if it was not. */
STELE_API const char *stele_decision_reason(const struct stele_decision *decision);

#ifdef __cplusplus
}
#endif

#endif
