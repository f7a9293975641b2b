/* payments STORE PORT
 *
 *     POST    /wallets/CUSTOMER   {"amount"}: a deposit
 *     GET     /wallets/CUSTOMER
 *     PUT     /payments/ORDER     {"customer", "amount"}: charges the wallet
 *     DELETE  /payments/ORDER     gives back what was charged, or calls it off */
#include "json.h"
#include "payment.h"
#include "service.h"

#include <stdio.h>
#include <string.h>

static int64_t balance_of(const void *state)
{
    return ((const struct wallet *)state)->balance;
}

static void handle(void *context, const struct http_request *request, struct http_answer *answer)
{
    struct service *const service = context;
    const char *const what = request->words[0];
    const char *const name = request->words[1];
    const char *const method = request->method;
    const int is_wallet = strcmp(what, "wallets") == 0;
    char stream[STELE_STREAM_NAME_SIZE_MAX];
    if (!is_name(name) || request->words[2][0] != '\0' ||
        (!is_wallet && strcmp(what, "payments") != 0)) {
        return;
    }
    (void)snprintf(stream, sizeof stream, "%s-%s", is_wallet ? "wallet" : "payment", name);
    if (is_wallet && strcmp(method, "GET") == 0) {
        service_answer_number(service, &wallet_fold, stream, name, balance_of, answer);
    } else if (is_wallet && strcmp(method, "POST") == 0) {
        service_answer(service, &payment_decider, "Deposit", stream, request, answer);
    } else if (!is_wallet && strcmp(method, "PUT") == 0) {
        service_answer(service, &payment_decider, "Charge", stream, request, answer);
    } else if (!is_wallet && strcmp(method, "DELETE") == 0) {
        service_answer(service, &payment_decider, "Refund", stream, request, answer);
    }
}

int main(int argc, char **argv)
{
    struct service service;
    if (argc != 3) {
        (void)fputs("payments STORE PORT\n", stderr);
        return 2;
    }
    const int is_started = service_start(&service, "payments", argv[1], argv[2]);
    if (is_started) {
        http_serve(&service.server, handle, &service);
    }
    service_stop(&service);
    return is_started ? 0 : 1;
}
