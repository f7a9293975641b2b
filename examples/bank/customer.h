/* Customers: what is known of them as people, which can be forgotten. Everywhere else a customer is a
 * pseudonym ("c-7"). Name and address are sealed with a key of the customer; forgetting destroys it. */
#ifndef BANK_CUSTOMER_H
#define BANK_CUSTOMER_H

#include <stele/keys.h>
#include <stele/stele.h>

/* Opens the keyring (made if it is missing) with the 32 bytes in the file master, and has the store
 * use it. */
int customer_keyring(struct stele *store, const char *path, const char *master,
                     struct stele_keyring **out_keyring, struct stele_error *err);

/* STELE_OK; STELE_WRONG_REVISION: registered already; STELE_E_KEY: was forgotten. */
int customer_register(struct stele *store, const char *customer, const char *name, const char *mail,
                      struct stele_error *err);

/* Prints what is known. STELE_OK, STELE_NO_STREAM, … */
int customer_print(struct stele *store, const char *customer, struct stele_error *err);

#endif
