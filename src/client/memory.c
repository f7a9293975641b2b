/* Memory for the pure part of the toolkit, which itself does not know where memory comes from. */
#include "es/memory.h"

#include "io/linux.h"

struct stele_memory *stele_memory_create(void)
{
    return stele_memory_create_in(stele_linux_alloc(), 0);
}
