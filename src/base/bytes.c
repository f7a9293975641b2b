#include "base/bytes.h"

int stele_bytes_compare(struct stele_bytes a, struct stele_bytes b)
{
    const size_t common = a.size < b.size ? a.size : b.size;
    /* memcmp() must not be given NULL, which is what empty bytes usually hold. */
    const int order = common == 0 ? 0 : memcmp(a.data, b.data, common);
    if (order != 0) {
        return order;
    }
    return (a.size > b.size) - (a.size < b.size);
}

bool stele_bytes_has_prefix(struct stele_bytes bytes, struct stele_bytes prefix)
{
    return prefix.size <= bytes.size &&
           stele_bytes_equal(stele_bytes_slice(bytes, 0, prefix.size), prefix);
}
