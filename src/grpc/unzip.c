#include "base/status.h"
#include "grpc/grpc_internal.h"

#include <zlib.h>

/* zlib frees without telling sizes: they stand in front of what it gets. */
#define SIZE_ROOM 16

static voidpf take(voidpf opaque, uInt items, uInt size)
{
    struct stele_alloc *alloc = opaque;
    const size_t whole = (size_t)items * size + SIZE_ROOM;
    uint8_t *memory = stele_allocate_zeroed(alloc, whole);
    if (memory == NULL) {
        return NULL;
    }
    stele_store_u64le(memory, whole);
    return memory + SIZE_ROOM;
}

static void give(voidpf opaque, voidpf memory)
{
    if (memory != NULL) {
        uint8_t *const whole = (uint8_t *)memory - SIZE_ROOM;
        stele_release(opaque, whole, (size_t)stele_load_u64le(whole));
    }
}

static int unzip(z_stream *stream, size_t max, struct stele_alloc *alloc, struct stele_buf *out)
{
    for (;;) {
        /* One byte more than allowed, so that "exactly max" and "more" can be told apart. */
        const size_t room_max = max - out->size + 1;
        size_t room = stream->avail_in > 0 ? 4 * (size_t)stream->avail_in : 4096;
        room = room < 4096 ? 4096 : room;
        room = room > room_max ? room_max : room;
        if (stele_buf_reserve(out, alloc, room) != STELE_OK) {
            return STELE_E_NO_MEMORY;
        }
        stream->next_out = out->data + out->size;
        stream->avail_out = (uInt)room;
        const int result = inflate(stream, Z_NO_FLUSH);
        out->size += room - stream->avail_out;
        if (out->size > max) {
            return STELE_E_LIMIT;
        }
        if (result == Z_STREAM_END) {
            return stream->avail_in == 0 ? STELE_OK : STELE_E_CORRUPT;
        }
        if (result == Z_MEM_ERROR) {
            return STELE_E_NO_MEMORY;
        }
        /* Neither progress nor an end: what there is was cut. */
        if (result != Z_OK || (stream->avail_in == 0 && stream->avail_out > 0)) {
            return STELE_E_CORRUPT;
        }
    }
}

int stele_grpc__unzip(enum stele_grpc__coding coding, struct stele_bytes zipped, size_t max,
                      struct stele_alloc *alloc, struct stele_buf *out)
{
    STELE_ASSERT(coding != CODING_IDENTITY);
    STELE_ASSERT(zipped.size <= UINT32_MAX);
    STELE_ASSERT(max < UINT32_MAX);
    out->size = 0;
    z_stream stream = {.zalloc = take, .zfree = give, .opaque = alloc};
    /* zlib does not write to what it reads; its interface is older than const. */
    stream.next_in = (Bytef *)(uintptr_t)zipped.data;
    stream.avail_in = (uInt)zipped.size;
    const int window = coding == CODING_GZIP ? 15 + 16 : 15;
    if (inflateInit2(&stream, window) != Z_OK) {
        return STELE_E_NO_MEMORY;
    }
    const int outcome = unzip(&stream, max, alloc, out);
    (void)inflateEnd(&stream);
    return outcome;
}
