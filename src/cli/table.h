/* A few values with names, one a line for people, or one JSON object for programs. */
#ifndef STELE_CLI_TABLE_H
#define STELE_CLI_TABLE_H

#include <stdbool.h>
#include <stdint.h>
#include <stele.h>

void stele_cli_table_begin(void);
/* Names in JSON get _ for spaces. */
void stele_cli_table_number(const char *name, uint64_t value);
/* Bytes: in words for people, the number for programs. */
void stele_cli_table_size(const char *name, uint64_t value);
/* For programs a string, because it does not fit into 53 bits; for people with its time. */
void stele_cli_table_position(const char *name, uint64_t value);
void stele_cli_table_text(const char *name, const char *value);
void stele_cli_table_bool(const char *name, bool value);
/* JSON that is valid already. */
void stele_cli_table_json(const char *name, struct stele_text json);
void stele_cli_table_end(void);

#endif
