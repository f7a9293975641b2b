/* Prints the authorization table, a row a line, for tests that generate what they ask from it:
 *
 *     rpc NAME PATH RULE
 *     route NAME METHOD PATH RULE */
#include "auth/table.h"

#include <stdio.h>

int main(void)
{
#define RPC(name, path, rule) (void)puts("rpc " #name " " path " " #rule);
    STELE_RPC_TABLE(RPC)
#undef RPC
#define ROUTE(name, method, path, rule) (void)puts("route " #name " " method " " path " " #rule);
    STELE_ROUTE_TABLE(ROUTE)
#undef ROUTE
    return 0;
}
