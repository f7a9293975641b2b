#include "cli/progress.h"

#include "cli/cli.h"
#include "cli/text.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define PAUSE_MS 200

static int64_t now_ms(void)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void stele_cli_progress_init(struct stele_cli_progress *progress, const char *what)
{
    *progress = (struct stele_cli_progress){
        .what = what,
        .wanted = isatty(STDERR_FILENO) == 1 && !stele_cli_globals.json,
        .next_ms = now_ms() + PAUSE_MS,
    };
}

static bool is_due(struct stele_cli_progress *progress)
{
    if (!progress->wanted) {
        return false;
    }
    const int64_t now = now_ms();
    if (now < progress->next_ms) {
        return false;
    }
    progress->next_ms = now + PAUSE_MS;
    progress->shown = true;
    return true;
}

void stele_cli_progress_lines(struct stele_cli_progress *progress, uint64_t lines, uint64_t bytes)
{
    if (!is_due(progress)) {
        return;
    }
    char size[STELE_CLI_SIZE_SIZE];
    stele_cli_size_format(bytes, size);
    (void)dprintf(STDERR_FILENO, "\r\033[K%s: %llu lines, %s", progress->what,
                  (unsigned long long)lines, size);
}

void stele_cli_progress_part(struct stele_cli_progress *progress, uint64_t done, uint64_t total)
{
    if (!is_due(progress) || total == 0) {
        return;
    }
    char size[STELE_CLI_SIZE_SIZE];
    stele_cli_size_format(total, size);
    (void)dprintf(STDERR_FILENO, "\r\033[K%s: %.1f %% of %s", progress->what,
                  (double)done * 100 / (double)total, size);
}

void stele_cli_progress_clear(struct stele_cli_progress *progress)
{
    if (progress->shown) {
        (void)dprintf(STDERR_FILENO, "\r\033[K");
        progress->shown = false;
    }
}

int stele_cli_on_progress(void *context, uint64_t done, uint64_t total)
{
    stele_cli_progress_part(context, done, total);
    return stele_cli_interrupted();
}
