/* Items, and what of them is reserved and shipped for whom. Pure.
 *
 *     reservation-ORDER  StockReserved      {"item", "quantity"}
 *                        StockReleased      {"item", "quantity"}
 *                        ReservationVoided  {}: it was called off before it came
 *                        ShipmentScheduled  {"to"}
 *                        ShipmentCancelled  {}
 *                        ShipmentVoided     {}: as above
 *     item-ITEM          Delivered          {"quantity"}
 *                        Taken              {"order", "quantity"}
 *                        Returned           {"order", "quantity"}
 *
 * What concerns a reservation and an item is appended to both at once. */
#ifndef ORDERS_STOCK_H
#define ORDERS_STOCK_H

#include <stele/es.h>

struct item {
    int64_t quantity; /* That nobody has reserved. */
};

extern const struct stele_fold item_fold;

/* Commands; the data are JSON:
 *
 *     Deliver         to an item         {"quantity"}
 *     Reserve         to a reservation   {"item", "quantity"}
 *     Release         to a reservation
 *     Ship            to a reservation   {"to"}
 *     CancelShipment  to a reservation */
extern const struct stele_decider stock_decider;

#endif
