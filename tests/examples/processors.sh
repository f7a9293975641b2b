#!/usr/bin/env bash
# docs/processors.md shows what happens, and the pieces of code in it are those of the example.
. "$(dirname "$0")/page.sh"
. "$(dirname "$0")/tap.sh"
export PATH=$build/examples:$build/src/cli:$PATH
page=$source/docs/processors.md

check "every piece of code in the page is in the example" pieces "$source/examples/processor.c" 4
check "every command in the page prints what is shown" session
check "what is missing is said" fails 2 processor pass crm
finish
