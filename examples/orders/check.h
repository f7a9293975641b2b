/* Proves from three stores that orders ended as they should. It believes nobody's state: it reads every event, and
 * counts.
 *
 *  1. Nothing was paid, reserved or shipped for an order that does not exist.
 *  2. Each step's effect, and its undoing, happened at most once: on the payment and on the wallet, on the
 *     reservation and on the item, of the order's amount and quantity.
 *  3. A confirmed order was paid, reserved and scheduled, and nothing of it was undone.
 *  4. For a cancelled one everything that was done was undone.
 *  5. Every order is confirmed or cancelled, or its saga is parked (or was abandoned) by a person or for
 *     one; and the order says the same as its saga.
 *  6. No wallet and no stock was ever below zero; and what is left is what came in, less what the orders
 *     have a right to.
 *
 * It may run beside the services: an order that has not ended is counted, and not judged. */
#ifndef ORDERS_CHECK_H
#define ORDERS_CHECK_H

/* Prints what it found. The exit code: 0 everything is right, 1 something is not, 2 a store could not be read,
 * 3 nothing is wrong so far and some orders have not ended. */
int check_stores(const char *orders, const char *payments, const char *inventory);

#endif
