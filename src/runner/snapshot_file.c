/* Snapshots beside the store. A state has as many files as snapshots are kept; a new one takes the
 * place of the oldest, so nothing is ever listed or counted. Nothing is synced: a file that a power
 * cut tore has a wrong checksum, and the state is folded from its events.
 *
 *     offset  size  field
 *          0     8  magic        "STELESN1"
 *          8     4  checksum     CRC-32C of everything behind this field
 *         12     4  names        bytes of the fold's and the stream's name, a zero behind each
 *         16     8  fingerprint  of the fold
 *         24     8  count        events folded
 *         32     8  revision     of the last one
 *         40     8  position     of the last one
 *         48     8  created      microseconds since 1970
 *         56        names, then the state's bytes up to the end
 *
 * The names are stored although the file's name follows from them: it does so through a hash. */
#include "base/checksum.h"
#include "runner/command_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC "STELESN1"
#define HEADER_SIZE 56u
#define PATH_SIZE 4096
#define FILE_SIZE_MAX ((size_t)64 * 1024 * 1024)

/* directory/xx/hash.slot; false: too long. */
static bool file_path(const struct stele_runner *runner, const char *fold, const char *stream,
                      uint32_t slot, char path[PATH_SIZE])
{
    const uint64_t hash =
        stele_hash64(stele_bytes_of_text(stream), stele_hash64(stele_bytes_of_text(fold), 0));
    const int size = snprintf(path, PATH_SIZE, "%s/%02x/%016llx.%u", runner->directory,
                              (unsigned)(hash >> 56), (unsigned long long)hash, slot);
    return size > 0 && size < PATH_SIZE - 8;
}

static bool write_all(int file, const void *data, size_t size)
{
    const uint8_t *from = data;
    while (size > 0) {
        const ssize_t written = write(file, from, size);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return false;
        }
        from += written;
        size -= (size_t)written;
    }
    return true;
}

static bool read_all(int file, void *data, size_t size)
{
    uint8_t *to = data;
    while (size > 0) {
        const ssize_t got = read(file, to, size);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return false;
        }
        to += got;
        size -= (size_t)got;
    }
    return true;
}

/* The revision in a slot's header, unchecked; -1 for a slot without one: it is taken first. */
static int64_t slot_revision(const char *path)
{
    uint8_t header[HEADER_SIZE];
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return -1;
    }
    const bool whole = read_all(file, header, sizeof header);
    (void)close(file);
    return whole && memcmp(header, MAGIC, 8) == 0 ? (int64_t)stele_load_u64le(header + 32) : -1;
}

static bool oldest_slot(struct stele_runner *runner, const struct stele_snapshot_job *job,
                        char path[PATH_SIZE])
{
    uint32_t oldest = 0;
    int64_t least = INT64_MAX;
    for (uint32_t slot = 0; slot < runner->options.snapshots_kept && least >= 0; slot++) {
        if (!file_path(runner, job->fold, job->stream, slot, path)) {
            return false;
        }
        const int64_t revision = slot_revision(path);
        if (revision < least) {
            least = revision;
            oldest = slot;
        }
    }
    return file_path(runner, job->fold, job->stream, oldest, path);
}

static int create_file(const char *path)
{
    char folder[PATH_SIZE];
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (file < 0 && errno == ENOENT) {
        (void)snprintf(folder, sizeof folder, "%s", path);
        *strrchr(folder, '/') = '\0';
        (void)mkdir(folder, 0777);
        file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    }
    return file;
}

int stele_snapshot__write_file(struct stele_runner *runner, const struct stele_snapshot_job *job)
{
    char path[PATH_SIZE];
    char fresh[PATH_SIZE];
    if (!oldest_slot(runner, job, path)) {
        return STELE_E_LIMIT;
    }
    (void)snprintf(fresh, sizeof fresh, "%.4080s.new", path);
    const size_t fold_size = strlen(job->fold) + 1;
    const size_t stream_size = strlen(job->stream) + 1;
    uint8_t header[HEADER_SIZE] = MAGIC;
    stele_store_u32le(header + 12, (uint32_t)(fold_size + stream_size));
    stele_store_u64le(header + 16, job->fingerprint);
    stele_store_u64le(header + 24, job->count);
    stele_store_u64le(header + 32, job->revision);
    stele_store_u64le(header + 40, job->position);
    stele_store_u64le(header + 48, (uint64_t)stele_command__now_us());
    uint32_t crc =
        stele_crc32c((struct stele_bytes){.data = header + 12, .size = HEADER_SIZE - 12});
    crc = stele_crc32c_extend(
        crc, (struct stele_bytes){.data = (const uint8_t *)job->fold, .size = fold_size});
    crc = stele_crc32c_extend(
        crc, (struct stele_bytes){.data = (const uint8_t *)job->stream, .size = stream_size});
    crc = stele_crc32c_extend(crc, (struct stele_bytes){.data = job->data, .size = job->data_size});
    stele_store_u32le(header + 8, crc);
    const int file = create_file(fresh);
    if (file < 0) {
        return STELE_E_IO;
    }
    const bool written =
        write_all(file, header, sizeof header) && write_all(file, job->fold, fold_size) &&
        write_all(file, job->stream, stream_size) && write_all(file, job->data, job->data_size);
    const bool closed = close(file) == 0;
    /* Readers see the old one or the new one, never a half. */
    if (!written || !closed || rename(fresh, path) != 0) {
        (void)unlink(fresh);
        return STELE_E_IO;
    }
    return STELE_OK;
}

/* ---- Reading ------------------------------------------------------------------------------ */

static uint8_t *load_file(const char *path, struct stele_memory *memory, size_t *out_size)
{
    struct stat info;
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return NULL;
    }
    uint8_t *bytes = NULL;
    if (fstat(file, &info) == 0 && info.st_size >= (off_t)HEADER_SIZE &&
        (uint64_t)info.st_size <= FILE_SIZE_MAX) {
        bytes = stele_memory_allocate(memory, (size_t)info.st_size);
        if (bytes != NULL && !read_all(file, bytes, (size_t)info.st_size)) {
            bytes = NULL;
        }
        *out_size = (size_t)info.st_size;
    }
    (void)close(file);
    return bytes;
}

static bool names_match(const uint8_t *names, size_t size, const char *fold, const char *stream)
{
    const size_t fold_size = strlen(fold) + 1;
    const size_t stream_size = strlen(stream) + 1;
    return size == fold_size + stream_size && memcmp(names, fold, fold_size) == 0 &&
           memcmp(names + fold_size, stream, stream_size) == 0;
}

static bool parse(const struct stele_fold *fold, const char *stream, const uint8_t *bytes,
                  size_t size, struct stele_snapshot *out_snapshot)
{
    const struct stele_bytes checked = {.data = bytes + 12, .size = size - 12};
    const size_t names = stele_load_u32le(bytes + 12);
    if (memcmp(bytes, MAGIC, 8) != 0 || stele_load_u32le(bytes + 8) != stele_crc32c(checked) ||
        names > size - HEADER_SIZE ||
        !names_match(bytes + HEADER_SIZE, names, fold->name, stream) ||
        stele_load_u64le(bytes + 16) != stele_fold_fingerprint(fold)) {
        return false;
    }
    *out_snapshot = (struct stele_snapshot){
        .count = stele_load_u64le(bytes + 24),
        .revision = stele_load_u64le(bytes + 32),
        .position = stele_load_u64le(bytes + 40),
        .created_us = (int64_t)stele_load_u64le(bytes + 48),
        .data = bytes + HEADER_SIZE + names,
        .data_size = size - HEADER_SIZE - names,
    };
    return true;
}

int stele_snapshot__read_file(struct stele_runner *runner, const struct stele_fold *fold,
                              const char *stream, uint64_t as_of, struct stele_memory *memory,
                              struct stele_snapshot *out_snapshot)
{
    bool found = false;
    for (uint32_t slot = 0; slot < runner->options.snapshots_kept; slot++) {
        char path[PATH_SIZE];
        struct stele_snapshot snapshot;
        size_t size = 0;
        if (!file_path(runner, fold->name, stream, slot, path)) {
            return STELE_NOT_FOUND;
        }
        const uint8_t *bytes = load_file(path, memory, &size);
        if (bytes == NULL) {
            continue;
        }
        if (!parse(fold, stream, bytes, size, &snapshot)) {
            stele_command__count(&runner->snapshots_unusable, 1);
            continue;
        }
        if ((as_of == 0 || snapshot.position <= as_of) &&
            (!found || snapshot.revision > out_snapshot->revision)) {
            *out_snapshot = snapshot;
            found = true;
        }
    }
    return found ? STELE_OK : STELE_NOT_FOUND;
}
