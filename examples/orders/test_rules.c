/* The rules of payments, stock and orders, as stories: given these events, when this is asked for, then this
 * happens. */
#include "order.h"
#include "payment.h"
#include "stock.h"

#include <stele/testing.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAYMENT "payment-17"
#define WALLET "wallet-ada"
#define RESERVATION "reservation-17"
#define ITEM "item-lamp"
#define ORDER "order-17"
#define PLACED                                                                                     \
    "{\"customer\":\"ada\",\"item\":\"lamp\",\"quantity\":2,\"amount\":6000,\"to\":\"Paris\"}"

static struct stele_testing *begin(void)
{
    struct stele_testing *const story = stele_testing_create();
    if (story == NULL) {
        abort();
    }
    return story;
}

static void end(struct stele_testing *story, int number, const char *claim)
{
    STELE_TESTING_CHECK(story);
    stele_testing_destroy(story);
    (void)printf("ok %d - %s\n", number, claim);
}

static void when(struct stele_testing *story, const struct stele_decider *decider, const char *type,
                 const char *stream, const char *data)
{
    const struct stele_command command = {
        .struct_size = sizeof command,
        .type = type,
        .stream = stream,
        .data = data,
        .data_size = strlen(data),
    };
    stele_testing_when(story, decider, &command);
}

static void test_payment(int number)
{
    struct stele_testing *const story = begin();
    stele_testing_given(story, WALLET, "Deposited", "{\"amount\":10000}");
    when(story, &payment_decider, "Charge", PAYMENT, PLACED);
    stele_testing_then(story, PAYMENT, "PaymentCharged", "{\"customer\":\"ada\",\"amount\":6000}");
    stele_testing_then(story, WALLET, "Debited", "{\"order\":\"17\",\"amount\":6000}");
    STELE_TESTING_CHECK(story);
    when(story, &payment_decider, "Charge", "payment-18", PLACED);
    stele_testing_then_rejected(story, "ada has only 4000 cents");
    STELE_TESTING_CHECK(story);
    when(story, &payment_decider, "Refund", PAYMENT, "");
    stele_testing_then(story, PAYMENT, "PaymentRefunded", "{\"customer\":\"ada\",\"amount\":6000}");
    stele_testing_then(story, WALLET, "Credited", "{\"order\":\"17\",\"amount\":6000}");
    STELE_TESTING_CHECK(story);
    when(story, &payment_decider, "Refund", PAYMENT, "");
    end(story, number, "a wallet is charged for what it has, and refunded once");
}

static void test_refund_first(int number)
{
    struct stele_testing *const story = begin();
    stele_testing_given(story, WALLET, "Deposited", "{\"amount\":10000}");
    when(story, &payment_decider, "Refund", PAYMENT, "");
    stele_testing_then(story, PAYMENT, "PaymentVoided", "{}");
    STELE_TESTING_CHECK(story);
    when(story, &payment_decider, "Charge", PAYMENT, PLACED);
    stele_testing_then_rejected(story, "was called off");
    end(story, number, "a payment that comes after its refund is refused");
}

static void test_stock(int number)
{
    struct stele_testing *const story = begin();
    stele_testing_given(story, ITEM, "Delivered", "{\"quantity\":3}");
    when(story, &stock_decider, "Reserve", RESERVATION, PLACED);
    stele_testing_then(story, RESERVATION, "StockReserved", "{\"item\":\"lamp\",\"quantity\":2}");
    stele_testing_then(story, ITEM, "Taken", "{\"order\":\"17\",\"quantity\":2}");
    STELE_TESTING_CHECK(story);
    when(story, &stock_decider, "Reserve", "reservation-18", PLACED);
    stele_testing_then_rejected(story, "only 1 of lamp are left");
    STELE_TESTING_CHECK(story);
    when(story, &stock_decider, "Ship", RESERVATION, PLACED);
    stele_testing_then(story, RESERVATION, "ShipmentScheduled", "{\"to\":\"Paris\"}");
    STELE_TESTING_CHECK(story);
    when(story, &stock_decider, "CancelShipment", RESERVATION, "");
    stele_testing_then(story, RESERVATION, "ShipmentCancelled", "{}");
    STELE_TESTING_CHECK(story);
    when(story, &stock_decider, "Release", RESERVATION, "");
    stele_testing_then(story, RESERVATION, "StockReleased", "{\"item\":\"lamp\",\"quantity\":2}");
    stele_testing_then(story, ITEM, "Returned", "{\"order\":\"17\",\"quantity\":2}");
    end(story, number, "stock is reserved, shipped, and undone backwards");
}

static void test_release_first(int number)
{
    struct stele_testing *const story = begin();
    stele_testing_given(story, ITEM, "Delivered", "{\"quantity\":3}");
    when(story, &stock_decider, "Release", RESERVATION, "");
    stele_testing_then(story, RESERVATION, "ReservationVoided", "{}");
    STELE_TESTING_CHECK(story);
    when(story, &stock_decider, "Reserve", RESERVATION, PLACED);
    stele_testing_then_rejected(story, "was called off");
    STELE_TESTING_CHECK(story);
    when(story, &stock_decider, "CancelShipment", RESERVATION, "");
    stele_testing_then(story, RESERVATION, "ShipmentVoided", "{}");
    STELE_TESTING_CHECK(story);
    when(story, &stock_decider, "Ship", RESERVATION, PLACED);
    stele_testing_then_rejected(story, "has nothing to ship");
    end(story, number, "a reservation or shipment that comes after its undoing is refused");
}

static void test_nonsense(int number)
{
    static const char *const wrong[] = {"",
                                        "{}",
                                        "[1]",
                                        "{\"customer\":\"ada\",\"amount\":0}",
                                        "{\"customer\":\"ada\",\"amount\":-1}",
                                        "{\"customer\":\"ada\",\"amount\":1.5}",
                                        "{\"customer\":\"ada\",\"amount\":\"1\"}",
                                        "{\"customer\":\"ada\",\"amount\":99999999999999999999}",
                                        "{\"customer\":\"a\\\"b\",\"amount\":1}",
                                        "{\"customer\":\"a\\u0000b\",\"amount\":1}",
                                        "{\"customer\":\"\",\"amount\":1}"};
    struct stele_testing *const story = begin();
    stele_testing_given(story, WALLET, "Deposited", "{\"amount\":10000}");
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        when(story, &payment_decider, "Charge", PAYMENT, wrong[i]);
        stele_testing_then_rejected(story, "a payment has");
        STELE_TESTING_CHECK(story);
        when(story, &stock_decider, "Reserve", RESERVATION, wrong[i]);
        stele_testing_then_rejected(story, "a reservation has");
        STELE_TESTING_CHECK(story);
        when(story, &order_decider, "Place", ORDER, wrong[i]);
        stele_testing_then_rejected(story, "an order has");
        STELE_TESTING_CHECK(story);
    }
    end(story, number, "nonsense is refused");
}

static void test_order(int number)
{
    struct stele_testing *const story = begin();
    when(story, &order_decider, "ConfirmOrder", ORDER, "");
    stele_testing_then_rejected(story, "not placed");
    STELE_TESTING_CHECK(story);
    when(story, &order_decider, "Place", ORDER, PLACED);
    stele_testing_then(story, ORDER, "OrderPlaced", PLACED);
    STELE_TESTING_CHECK(story);
    when(story, &order_decider, "Place", ORDER, PLACED);
    stele_testing_then_rejected(story, "placed before");
    STELE_TESTING_CHECK(story);
    when(story, &order_decider, "CancelOrder", ORDER, "");
    stele_testing_then(story, ORDER, "OrderCancelled", "{}");
    STELE_TESTING_CHECK(story);
    when(story, &order_decider, "ConfirmOrder", ORDER, "");
    stele_testing_then_rejected(story, "is cancelled");
    end(story, number, "a cancelled order is not confirmed any more");
}

int main(void)
{
    static void (*const tests[])(int number) = {test_payment,       test_refund_first, test_stock,
                                                test_release_first, test_nonsense,     test_order};
    const int count = (int)(sizeof tests / sizeof tests[0]);
    (void)printf("1..%d\n", count);
    for (int i = 0; i < count; i++) {
        tests[i](i + 1);
    }
    return 0;
}
