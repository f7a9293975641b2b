/* inventory STORE PORT
 *
 *     POST    /items/ITEM           {"quantity"}: a delivery
 *     GET     /items/ITEM
 *     PUT     /reservations/ORDER   {"item", "quantity"}
 *     DELETE  /reservations/ORDER
 *     PUT     /shipments/ORDER      {"to"}: of what is reserved
 *     DELETE  /shipments/ORDER */
#include "json.h"
#include "service.h"
#include "stock.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *method;
    const char *what;
    const char *category; /* Of the stream. */
    const char *command;
} routes[] = {
    {"POST", "items", "item", "Deliver"},
    {"PUT", "reservations", "reservation", "Reserve"},
    {"DELETE", "reservations", "reservation", "Release"},
    {"PUT", "shipments", "reservation", "Ship"},
    {"DELETE", "shipments", "reservation", "CancelShipment"},
};

static int64_t quantity_of(const void *state)
{
    return ((const struct item *)state)->quantity;
}

static void handle(void *context, const struct http_request *request, struct http_answer *answer)
{
    struct service *const service = context;
    const char *const what = request->words[0];
    const char *const name = request->words[1];
    char stream[STELE_STREAM_NAME_SIZE_MAX];
    if (!is_name(name) || request->words[2][0] != '\0') {
        return;
    }
    if (strcmp(what, "items") == 0 && strcmp(request->method, "GET") == 0) {
        (void)snprintf(stream, sizeof stream, "item-%s", name);
        service_answer_number(service, &item_fold, stream, name, quantity_of, answer);
        return;
    }
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        if (strcmp(what, routes[i].what) == 0 && strcmp(request->method, routes[i].method) == 0) {
            (void)snprintf(stream, sizeof stream, "%s-%s", routes[i].category, name);
            service_answer(service, &stock_decider, routes[i].command, stream, request, answer);
        }
    }
}

int main(int argc, char **argv)
{
    struct service service;
    if (argc != 3) {
        (void)fputs("inventory STORE PORT\n", stderr);
        return 2;
    }
    const int is_started = service_start(&service, "inventory", argv[1], argv[2]);
    if (is_started) {
        http_serve(&service.server, handle, &service);
    }
    service_stop(&service);
    return is_started ? 0 : 1;
}
