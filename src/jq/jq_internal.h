/* The inside of programs in jq. */
#ifndef STELE_JQ_JQ_INTERNAL_H
#define STELE_JQ_JQ_INTERNAL_H

#include <stele/jq.h>

#include <jq.h>
#include <pthread.h>

#define WORDS_SIZE 400

struct use;

struct stele_jq {
    pthread_mutex_t lock; /* libjq's state is for one thread at a time. */
    struct use *uses;
    jq_state *state;
    char name[200];
    char words[WORDS_SIZE];
};

/* The text of a file, for free(). */
int stele_jq__read(const char *path, char **out_program, struct stele_error *err);
/* JSON as a value; null if it is none. */
jv stele_jq__parse(const void *data, size_t size);
/* An event as folds see it. */
jv stele_jq__event(const struct stele_event *event);
/* The words of a value that is none; takes it. */
jv stele_jq__message(jv invalid);

#endif
