/* Payments and wallets: what their events mean, and which commands are allowed. Pure.
 *
 *     payment-ORDER    PaymentCharged   {"customer", "amount"}
 *                      PaymentRefunded  {"customer", "amount"}
 *                      PaymentVoided    {}: it was called off before it came
 *     wallet-CUSTOMER  Deposited        {"amount"}
 *                      Debited          {"order", "amount"}
 *                      Credited         {"order", "amount"}: a refund
 *
 * What concerns a payment and a wallet is appended to both at once. Amounts are cents. */
#ifndef ORDERS_PAYMENT_H
#define ORDERS_PAYMENT_H

#include <stele/es.h>

struct wallet {
    int64_t balance;
};

extern const struct stele_fold wallet_fold;

/* Commands; the data are JSON:
 *
 *     Deposit  to a wallet   {"amount"}
 *     Charge   to a payment  {"customer", "amount"}
 *     Refund   to a payment */
extern const struct stele_decider payment_decider;

#endif
