/* Writes a run in one pass: all counts are known before, so every section has its place, and they
 * are filled side by side from a few buffers. Memory: 1.3 MB and 4 bytes per 4 KiB of the run. */
#ifndef STELE_INDEX_RUN_WRITE_H
#define STELE_INDEX_RUN_WRITE_H

#include "index/format.h"

/* One section being filled. */
struct stele_index__stream {
    uint64_t at;     /* Where in the file the buffer begins. */
    uint64_t put;    /* Bytes of the section so far. */
    uint8_t *buffer; /* NULL if the section is empty. */
    size_t capacity;
    size_t used;
};

/* A directory and a filter being filled in the order of hashes. */
struct stele_index__finder {
    enum stele_index__section filter;
    enum stele_index__section directory;
    uint32_t blocks;
    uint32_t bits;
    uint32_t block_at; /* The filter block that is being filled. */
    uint64_t buckets;  /* Directory entries written. */
    uint8_t block[STELE_INDEX__FILTER_BLOCK];
};

struct stele_index__writer {
    struct stele_io *io;
    struct stele_index__header header;
    struct stele_index__layout layout;
    char name[STELE_FILE_NAME_MAX];
    char name_tmp[STELE_FILE_NAME_MAX];
    struct stele_file *file;
    struct stele_index__stream streams[STELE_INDEX__CHECKSUMS];
    struct stele_index__finder keys;
    struct stele_index__finder ids;
    uint64_t keys_count;
    uint64_t ids_count;
    uint8_t *checksums;
    int (*on_bytes)(void *context, uint64_t bytes);
    void *context;
    int outcome; /* The first failure; everything after it does nothing. */
    struct stele_error *err;
};

/* Creates the temporary file. header: everything but the footer's checksum. On failure nothing is
 * left to clean up. */
STELE_MUST_USE
int stele_index__writer_begin(struct stele_index__writer *writer, struct stele_io *io,
                              const struct stele_index__header *header,
                              int (*on_bytes)(void *context, uint64_t bytes), void *context,
                              struct stele_error *err);
/* Keys in order of (hash, space, name); name_offset and postings are filled in here. Each is
 * followed by its key->count postings. */
void stele_index__writer_key(struct stele_index__writer *writer, struct stele_index__key *key,
                             struct stele_bytes name);
void stele_index__writer_posting(struct stele_index__writer *writer, uint64_t place);
/* Ids in order of (hash, place). */
void stele_index__writer_id(struct stele_index__writer *writer, uint64_t hash, uint64_t place);
/* Numbers of keys in order of (space, name). */
void stele_index__writer_order(struct stele_index__writer *writer, uint32_t number);
/* Completes the file, syncs it, gives it its name, syncs names; or removes it. Releases the
 * writer's memory in both cases. STELE_E_CORRUPT if more or less was written than announced. */
STELE_MUST_USE
int stele_index__writer_end(struct stele_index__writer *writer);

#endif
