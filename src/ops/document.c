/* settings markdown | man: the table of settings, as the documents have it. */
#include "io/linux.h"
#include "ops/config.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    struct stele_buf buf = {.data = NULL};
    struct stele_alloc *const alloc = stele_linux_alloc();
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
