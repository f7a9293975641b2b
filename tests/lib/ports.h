/* Ports for programs that have to be told theirs, and that may end and come again.
 *
 * A port is this process's until it ends: UDP's port of that number, which nothing here uses, is held for it, so
 * every other test sees that it is given away whichever moment it asks at. They are of those that the
 * system gives to no client by itself. tests/cli/harness.py does the same. */
#ifndef STELE_TESTS_LIB_PORTS_H
#define STELE_TESTS_LIB_PORTS_H

#include "lib/check.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

static inline bool ports__bind(int fd, int port)
{
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons((uint16_t)port),
                                        .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    return bind(fd, (const struct sockaddr *)(const void *)&address, sizeof address) == 0;
}

/* The sockets that keep ports stay open; a program that is started does not inherit them. */
static inline int ports_keep_one(void)
{
    const int begin = 20000 + (int)((long long)getpid() * 61 % 9000);
    for (int port = begin; port < begin + 3000; port++) {
        const int keeper = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        const int probe = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK(keeper >= 0);
        CHECK(probe >= 0);
        const bool is_free = ports__bind(keeper, port) && ports__bind(probe, port);
        CHECK_EQ(close(probe), 0);
        if (is_free) {
            return port;
        }
        CHECK_EQ(close(keeper), 0);
    }
    CHECK(0 && "no port is free");
    return 0;
}

#endif
