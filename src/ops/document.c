/* settings markdown | man: the table of settings, as the documents have it. */
#include "ops/config.h"

#include <stdio.h>
#include <stdlib.h>

static void *reallocate(struct stele_alloc *self, void *old, size_t old_size, size_t new_size)
{
    (void)self;
    (void)old_size;
    if (new_size == 0) {
        free(old);
        return NULL;
    }
    return realloc(old, new_size);
}

int main(int argc, char **argv)
{
    struct stele_buf buf = {.data = NULL};
    struct stele_alloc memory = {.reallocate = reallocate};
    struct stele_alloc *const alloc = &memory;
    const bool man = argc == 2 && strcmp(argv[1], "man") == 0;
    if (argc != 2 || (!man && strcmp(argv[1], "markdown") != 0)) {
        (void)fputs("usage: settings markdown|man\n", stderr);
        return 2;
    }
    const int outcome =
        man ? stele_config_document_man(alloc, &buf) : stele_config_document_markdown(alloc, &buf);
    const bool written = outcome == STELE_OK && fwrite(buf.data, 1, buf.size, stdout) == buf.size &&
                         fflush(stdout) == 0;
    stele_buf_deinit(&buf, alloc);
    return written ? 0 : 1;
}
