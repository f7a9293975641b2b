/* The power of a file system's disk goes: what it has not written is lost, and nothing can be
 * written any more.
 *
 *     cut DIRECTORY
 *
 * ext4 and XFS have an ioctl for that, made for their own tests. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#define GOING_DOWN _IOR('X', 125, uint32_t)
#define NO_LOG_FLUSH 2 /* Not even the journal is written out. */

int main(int argc, char **argv)
{
    uint32_t how = NO_LOG_FLUSH;
    const int fd = argc == 2 ? open(argv[1], O_RDONLY | O_DIRECTORY) : -1;
    if (fd < 0 || ioctl(fd, GOING_DOWN, &how) != 0) {
        perror("cut");
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
