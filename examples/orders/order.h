/* An order, as the one who takes it sees it. Pure.
 *
 *     order-ORDER  OrderPlaced     {"customer", "item", "quantity", "amount", "to"}; starts the saga
 *                  OrderAccepted   {}
 *                  OrderConfirmed  {}
 *                  OrderCancelled  {} */
#ifndef ORDERS_ORDER_H
#define ORDERS_ORDER_H

#include <stele/es.h>

struct order {
    int is_placed;
    int is_cancelled;
};

extern const struct stele_fold order_fold;

/* Commands to an order: Place (the data are those of OrderPlaced), AcceptOrder, ConfirmOrder, CancelOrder. */
extern const struct stele_decider order_decider;

#endif
