/* Inside model.c and model_read.c. */
#ifndef STELE_TESTS_LIB_MODEL_INTERNAL_H
#define STELE_TESTS_LIB_MODEL_INTERNAL_H

#include "model.h"

/* With a zero behind it; free(). */
void *model__copied(const void *bytes, size_t size);
/* MODEL_NONE: there is none. */
uint32_t model__name_find(const struct model_names *names, const char *name);
/* Is the stream deleted, softly? */
bool model__is_hidden(const struct model *model, uint32_t stream, bool staged);

/* Parts of conditions and filters; no names or prefixes match everything. */
bool model__has_tag(const struct model *model, const struct model_event *event, const char *tag);
bool model__is_one_of(const char *const *names, size_t count, const char *name);
bool model__has_one_prefix(const char *const *prefixes, size_t count, const char *name);

#endif
