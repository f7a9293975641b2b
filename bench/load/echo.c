/* The bare HTTP/2 round trip: every call is answered with 32 bytes when it has been read. nghttp2,
 * epoll, one thread, and nothing else. Prints its port.
 *
 *     load-echo            ends when its standard input does */
#include "cli/bench_kit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define OUT_SIZE ((size_t)256 << 10)

struct peer {
    int fd;
    nghttp2_session *session;
    uint8_t *out;
    size_t out_size;
};

static uint8_t answer[5 + 32] = {[4] = 32};

static ssize_t read_answer(nghttp2_session *session, int32_t id, uint8_t *to, size_t size,
                           uint32_t *flags, nghttp2_data_source *source, void *context)
{
    static uint8_t name[] = "grpc-status";
    static uint8_t value[] = "0";
    const nghttp2_nv trailer = {name, value, sizeof name - 1, sizeof value - 1, 0};
    (void)source;
    (void)context;
    if (size < sizeof answer) {
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    memcpy(to, answer, sizeof answer);
    *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    return nghttp2_submit_trailer(session, id, &trailer, 1) == 0 ? (ssize_t)sizeof answer
                                                                 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *context)
{
    static uint8_t names[][16] = {":status", "content-type"};
    static uint8_t values[][20] = {"200", "application/grpc"};
    const nghttp2_nv headers[] = {{names[0], values[0], 7, 3, 0}, {names[1], values[1], 12, 16, 0}};
    const nghttp2_data_provider provider = {.read_callback = read_answer};
    (void)context;
    if ((frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS) ||
        (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) {
        return 0;
    }
    return nghttp2_submit_response(session, frame->hd.stream_id, headers, 2, &provider);
}

/* false: it is gone. What does not fit at once waits: sockets block, answers are small. */
static bool flush(struct peer *peer)
{
    const uint8_t *data = NULL;
    ssize_t size = 0;
    while ((size = nghttp2_session_mem_send(peer->session, &data)) > 0) {
        if (peer->out_size + (size_t)size > OUT_SIZE) {
            return false;
        }
        memcpy(peer->out + peer->out_size, data, (size_t)size);
        peer->out_size += (size_t)size;
    }
    const size_t all = peer->out_size;
    peer->out_size = 0;
    return size == 0 && (all == 0 || send(peer->fd, peer->out, all, MSG_NOSIGNAL) == (ssize_t)all);
}

static struct peer *take_in(int listener, const nghttp2_session_callbacks *callbacks)
{
    const int one = 1;
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1024},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 << 20},
    };
    struct peer *const peer = bench_alloc(1, sizeof *peer);
    peer->out = bench_alloc(1, OUT_SIZE);
    peer->fd = accept(listener, NULL, NULL);
    (void)setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (nghttp2_session_server_new(&peer->session, callbacks, peer) != 0 ||
        nghttp2_submit_settings(peer->session, NGHTTP2_FLAG_NONE, settings, 2) != 0 ||
        nghttp2_session_set_local_window_size(peer->session, NGHTTP2_FLAG_NONE, 0, 1 << 24) != 0) {
        (void)fputs("load-echo: nghttp2 refuses\n", stderr);
        exit(1);
    }
    return peer;
}

static bool serve(struct peer *peer)
{
    static uint8_t in[256 << 10];
    const ssize_t got = recv(peer->fd, in, sizeof in, 0);
    return got > 0 && nghttp2_session_mem_recv(peer->session, in, (size_t)got) == got &&
           flush(peer);
}

static void let_go(struct peer *peer)
{
    (void)close(peer->fd);
    nghttp2_session_del(peer->session);
    free(peer->out);
    free(peer);
}

static int listen_somewhere(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(fd, (const struct sockaddr *)&address, size) != 0 || listen(fd, 1024) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) != 0) {
        (void)fprintf(stderr, "load-echo: %s\n", strerror(errno));
        exit(1);
    }
    (void)printf("%u\n", ntohs(address.sin_port));
    (void)fflush(stdout);
    return fd;
}

int main(void)
{
    static char at_listener, at_end;
    nghttp2_session_callbacks *callbacks = NULL;
    if (nghttp2_session_callbacks_new(&callbacks) != 0) {
        return 1;
    }
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    const int listener = listen_somewhere();
    const int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = &at_listener}};
    (void)epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event);
    event.data.ptr = &at_end;
    (void)epoll_ctl(epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &event);
    for (;;) {
        struct epoll_event events[64];
        const int count = epoll_wait(epoll_fd, events, 64, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == &at_end) {
                nghttp2_session_callbacks_del(callbacks);
                return 0;
            }
            if (events[i].data.ptr == &at_listener) {
                struct peer *const peer = take_in(listener, callbacks);
                event.data.ptr = peer;
                (void)epoll_ctl(epoll_fd, EPOLL_CTL_ADD, peer->fd, &event);
                (void)flush(peer);
            } else if (!serve(events[i].data.ptr)) {
                let_go(events[i].data.ptr);
            }
        }
    }
}
