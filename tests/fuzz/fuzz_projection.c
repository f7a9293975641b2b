/* SQL files of projections: any bytes are a projection or a refusal with a line, and what is written for
 * a database of one that is read has the parameters that it says. */
#include "io/linux.h"
#include "runner/projection.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void render(const struct stele_statement *statement, enum stele_dialect dialect)
{
    struct stele_alloc *const alloc = stele_linux_alloc();
    struct stele_buf sql = {.data = NULL};
    uint32_t params = 0;
    STELE_ASSERT(stele_projection_render(statement, dialect, "__1", alloc, &sql) == STELE_OK);
    STELE_ASSERT(sql.data[sql.size] == 0);
    for (size_t i = 0; i < statement->pieces_count; i++) {
        params |=
            statement->pieces[i].kind == STELE_PIECE_PARAM ? 1u << statement->pieces[i].param : 0;
    }
    STELE_ASSERT(params == statement->params);
    STELE_ASSERT(stele_projection_line(statement, (const char *)sql.data, sql.size) >=
                 statement->line);
    stele_buf_deinit(&sql, alloc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct stele_projection *projection = NULL;
    struct stele_error err = {.outcome = STELE_OK};
    const int outcome = stele_projection_parse("f", (const char *)data, size, &projection, &err);
    if (outcome != STELE_OK) {
        STELE_ASSERT(outcome == STELE_E_INVALID || outcome == STELE_E_LIMIT ||
                     outcome == STELE_E_NO_MEMORY);
        STELE_ASSERT(projection == NULL);
        STELE_ASSERT(outcome != STELE_E_INVALID || strncmp(err.message, "f:", 2) == 0);
        return 0;
    }
    for (size_t i = 0; i < projection->tables_count; i++) {
        STELE_ASSERT(projection->tables[i].params == 0);
        render(&projection->tables[i], STELE_DIALECT_SQLITE);
    }
    for (size_t i = 0; i < projection->statements_count; i++) {
        render(&projection->statements[i], STELE_DIALECT_SQLITE);
        render(&projection->statements[i], STELE_DIALECT_POSTGRES);
    }
    stele_projection_destroy(projection);
    return 0;
}
