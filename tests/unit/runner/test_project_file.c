/* An SQL file of a projection is taken apart as its author meant it, and every mistake is told with
 * file, line and what it is.
 *
 * Method: a table of files with the exact words of each refusal; rendered statements compared with
 * what the database should get. */
#include "io/linux.h"
#include "lib/check.h"
#include "runner/projection.h"
#include "runner/sql_token.h"

#define HEAD "-- @projection p\n-- @version 1\n"

#define ORDER "-- @order effective\n"
#define NO_UNDO(line)                                                                              \
    "p.sql:" line                                                                                  \
    ": @order effective needs statements behind an @undo, which take out everything "              \
    "of the stream :stream"

static struct stele_projection *parse(const char *text)
{
    struct stele_projection *projection = NULL;
    struct stele_error err = {0};
    CHECK_OK(stele_projection_parse("p.sql", text, strlen(text), &projection, &err), err);
    return projection;
}

static const struct {
    const char *text;
    const char *words;
} mistakes[] = {
    {"", "p.sql:1: there is no line `-- @projection NAME`"},
    {"-- @projection p\n-- @on A\nSELECT 1;", "p.sql:1: there is no line `-- @version 1`"},
    {HEAD, "p.sql:3: there is no statement behind an `-- @on TYPE`"},
    {HEAD "-- @on A\n", "p.sql:4: there is no statement behind an `-- @on TYPE`"},
    {"-- @projection p\n-- @projection q\n", "p.sql:2: @projection stands here a second time"},
    {"-- @projection\n", "p.sql:1: @projection takes one name"},
    {"-- @projection a b\n", "p.sql:1: @projection takes one name"},
    {"-- @projection a.b\n",
     "p.sql:1: \"a.b\" is no name of a projection: letters, digits, _ and -, at most 48"},
    {"-- @projection p\n-- @version 0\n", "p.sql:2: @version takes a number from 1 on"},
    {"-- @projection p\n-- @version two\n", "p.sql:2: @version takes a number from 1 on"},
    {"-- @projection p\n-- @version 1x\n", "p.sql:2: @version takes a number from 1 on"},
    {"-- @projection p\n-- @version 99999999999\n", "p.sql:2: @version takes a number from 1 on"},
    {HEAD "-- @version 2\n", "p.sql:3: @version stands here a second time"},
    {HEAD "-- @category\n", "p.sql:3: @category names nothing"},
    {HEAD "-- @categories a\n", "p.sql:3: @categories is no directive; there are @projection, "
                                "@version, @language, @order, @category, @stream, "
                                "@stream-prefix, @tag, @tables, @on, @effect and @undo"},
    {HEAD "-- @order\n", "p.sql:3: @order is stored or effective"},
    {HEAD "-- @order backwards\n", "p.sql:3: @order is stored or effective"},
    {HEAD "-- @order effective stored\n", "p.sql:3: @order is stored or effective"},
    {HEAD "-- @order effective\n-- @order effective\n",
     "p.sql:4: @order stands here a second time"},
    {HEAD "-- @on A\nSELECT 1;\n-- @order effective\n",
     "p.sql:5: @order belongs before @tables and @on"},
    {HEAD "-- @undo\nDELETE FROM t;\n",
     "p.sql:3: @undo belongs to a projection with `@order effective`"},
    {HEAD "-- @order stored\n-- @undo\nDELETE FROM t;\n",
     "p.sql:4: @undo belongs to a projection with `@order effective`"},
    {HEAD ORDER "-- @undo A\n", "p.sql:4: @undo names no types: it takes out all of a stream"},
    {HEAD ORDER "-- @undo\nDELETE FROM t;\n-- @undo\n", "p.sql:6: @undo stands here a second time"},
    {HEAD ORDER "-- @undo\nDELETE FROM t;\n",
     "p.sql:6: there is no statement behind an `-- @on TYPE`"},
    {HEAD ORDER "-- @on A\nSELECT 1;\n", NO_UNDO("3")},
    {HEAD ORDER "-- @undo\n-- @on A\nSELECT 1;\n", NO_UNDO("4")},
    {HEAD ORDER "-- @undo\nDELETE FROM t WHERE a = :id;\n-- @on A\nSELECT 1;\n",
     "p.sql:5: :id: behind @undo there is only :stream"},
    {HEAD ORDER "-- @undo\nDELETE FROM t;\n-- @effect A\nSELECT 1;\n",
     "p.sql:6: @effect does not go with @order effective, which applies events again and again: "
     "put "
     "it into a projection of its own"},
    {HEAD ORDER "-- @tag x\n-- @undo\nDELETE FROM t;\n-- @on A\nSELECT 1;\n",
     "p.sql:4: @tag takes single events, and @order effective whole streams"},
    {HEAD "-- @language lua\n" ORDER "-- @on A\nx()\n",
     "p.sql:4: @order effective is for projections in SQL"},
    {HEAD "-- @on A\nSELECT :effective;\n",
     "p.sql:4: :effective is for projections with `@order effective`"},
    {HEAD ORDER "-- @undo\nDELETE FROM t;\n-- @on A\nSELECT :effectiv;\n",
     "p.sql:7: :effectiv is no parameter; there are :stream, :revision, :position, :type, "
     ":created, :data, :metadata, :id, :bytes and :effective"},
    {HEAD "-- @tables\n-- @category a\n", "p.sql:4: @category belongs before @tables and @on"},
    {HEAD "-- @tables\n-- @version 2\n", "p.sql:4: @version belongs before @tables and @on"},
    {HEAD "-- @tables\n-- @tables\n", "p.sql:4: @tables stands here a second time"},
    {HEAD "-- @on\n", "p.sql:3: @on names no type of event; * is for all of them"},
    {HEAD "-- @effect\n", "p.sql:3: @effect names no type of event; * is for all of them"},
    {HEAD "-- @on A *\n", "p.sql:3: * is every type already: name types, or *"},
    {HEAD "SELECT 1;", "p.sql:3: a statement has to stand behind @tables or @on"},
    {HEAD "-- @on A\nPRAGMA x;",
     "p.sql:4: PRAGMA: a statement begins with INSERT, UPDATE, DELETE, REPLACE, WITH, SELECT or "
     "MERGE; the transaction is not its business"},
    {HEAD "-- @on A\n\nCOMMIT;",
     "p.sql:5: COMMIT: a statement begins with INSERT, UPDATE, DELETE, REPLACE, WITH, SELECT or "
     "MERGE; the transaction is not its business"},
    {HEAD "-- @tables\nDROP TABLE t;",
     "p.sql:4: DROP: behind @tables there are only CREATE and INSERT"},
    {HEAD "-- @tables\nCREATE FUNCTION f();\n-- @on A\nSELECT 1;",
     "p.sql:4: CREATE FUNCTION: a projection creates TABLE, VIEW, INDEX and TRIGGER only; make "
     "other things before, by hand"},
    {HEAD "-- @tables\nCREATE TEMP TABLE t (a);\n-- @on A\nSELECT 1;",
     "p.sql:4: CREATE TEMP: a projection creates TABLE, VIEW, INDEX and TRIGGER only; make other "
     "things before, by hand"},
    {HEAD "-- @tables\nCREATE TABLE\n main.t (a);\n-- @on A\nSELECT 1;",
     "p.sql:5: a plain name has to stand here, without a schema"},
    {HEAD "-- @tables\nCREATE TABLE t (a);\nCREATE TABLE \"T\" (a);\n-- @on A\nSELECT 1;",
     "p.sql:5: \"T\" was created on line 4 already"},
    {HEAD "-- @tables\nCREATE TABLE t (a,\n b, T text);\n-- @on A\nSELECT 1;",
     "p.sql:5: the column T is called as something that @tables creates: call one of them "
     "differently"},
    {HEAD "-- @tables\nINSERT INTO t VALUES (:data);\n-- @on A\nSELECT 1;",
     "p.sql:4: :data: there is no event behind @tables"},
    {HEAD "-- @on A\nINSERT INTO t\nVALUES (:amount);",
     "p.sql:5: :amount is no parameter; there are :stream, :revision, :position, :type, :created, "
     ":data, :metadata, :id and :bytes"},
    {HEAD "-- @on A\nSELECT 'a;\n", "p.sql:4: this string, name or comment does not end"},
    {HEAD "-- @on A\nSELECT 1\n-- @on B\nSELECT 2;",
     "p.sql:4: the statement that begins here has no ; at its end"},
    {HEAD "-- @on A\nSELECT 1\n", "p.sql:4: the statement that begins here has no ; at its end"},
    {HEAD "/* @on A\nSELECT 1;\n", "p.sql:3: this string, name or comment does not end"},
    {HEAD "-- @on A\nSELECT \xff;\n", "p.sql:1: this is no text in UTF-8"},
};

TEST(every_mistake_is_told_with_file_line_and_what)
{
    for (size_t i = 0; i < STELE_COUNT_OF(mistakes); i++) {
        struct stele_projection *projection = NULL;
        struct stele_error err = {0};
        CHECK_OUTCOME(stele_projection_parse("p.sql", mistakes[i].text, strlen(mistakes[i].text),
                                             &projection, &err),
                      STELE_E_INVALID, err);
        CHECK_TEXT_EQ(err.message, mistakes[i].words);
        CHECK(projection == NULL);
    }
}

TEST(in_effective_order_whole_streams_are_read_whatever_the_types)
{
    struct stele_projection *const projection =
        parse(HEAD ORDER "-- @category c\n-- @undo\nDELETE FROM t WHERE s = :stream;\n-- @on A\n"
                         "INSERT INTO t VALUES (:stream, :effective);\n");
    CHECK(projection->effective);
    CHECK_EQ(projection->filter.types_count, 0);
    CHECK_EQ(projection->filter.categories_count, 1);
    CHECK_EQ(projection->sections_count, 2);
    CHECK(projection->sections[0].undo);
    const struct stele_text type = {.data = "A", .size = 1};
    CHECK(!stele_section_wants(&projection->sections[0], type));
    CHECK(stele_section_wants(&projection->sections[1], type));
    stele_projection_destroy(projection);
}

TEST(whatever_is_cut_off_is_refused_or_whole)
{
    static const char text[] = HEAD "-- @category c\n-- @tables\nCREATE TABLE t (a, b);\n"
                                    "CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT CASE WHEN 1 "
                                    "THEN 2 END; SELECT 3; END;\n-- @on A, \"B c\"\nINSERT INTO t "
                                    "VALUES (:stream, $x$;$x$ || ';' /* ; */);\n";
    for (size_t size = 0; size < sizeof text; size++) {
        struct stele_projection *projection = NULL;
        struct stele_error err = {0};
        const int outcome = stele_projection_parse("p.sql", text, size, &projection, &err);
        CHECK(outcome == STELE_OK || outcome == STELE_E_INVALID);
        stele_projection_destroy(projection);
    }
    struct stele_projection *const projection = parse(text);
    CHECK_EQ(projection->tables_count, 2);
    CHECK_EQ(projection->statements_count, 1);
    CHECK_EQ(projection->sections_count, 1);
    CHECK_EQ(projection->sections[0].types_count, 2);
    CHECK_SLICE_EQ(projection->sections[0].types[1], "B c");
    CHECK_TEXT_EQ(projection->filter.types[1], "B c");
    CHECK_TEXT_EQ(projection->filter.categories[0], "c");
    stele_projection_destroy(projection);
}

static void check_rendered(const struct stele_statement *statement, enum stele_dialect dialect,
                           const char *want)
{
    struct stele_buf sql = {.data = NULL};
    CHECK_EQ(stele_projection_render(statement, dialect, "__7", stele_linux_alloc(), &sql),
             STELE_OK);
    CHECK_TEXT_EQ((const char *)sql.data, want);
    stele_buf_deinit(&sql, stele_linux_alloc());
}

TEST(names_and_parameters_are_written_for_each_database)
{
    struct stele_projection *const projection = parse(
        HEAD "-- @tables\nCREATE TABLE t (a INT);\nCREATE UNIQUE INDEX \"t a\" ON T (a);\n-- @on "
             "A\nUPDATE t SET a = t.a + x.t + ':data' /* t */ + :data::jsonb + \"T\".a\n -- :x\n"
             "WHERE b = :stream AND c = :data;");
    check_rendered(&projection->tables[0], STELE_DIALECT_SQLITE, "CREATE TABLE t__7 (a INT)");
    check_rendered(&projection->tables[1], STELE_DIALECT_SQLITE,
                   "CREATE UNIQUE INDEX \"t a__7\" ON T__7 (a)");
    check_rendered(&projection->statements[0], STELE_DIALECT_SQLITE,
                   "UPDATE t__7 SET a = t__7.a + x.t + ':data' /* t */ + ?6::jsonb + \"T__7\".a\n "
                   "-- :x\nWHERE b = ?1 AND c = ?6");
    check_rendered(&projection->statements[0], STELE_DIALECT_POSTGRES,
                   "UPDATE t__7 SET a = t__7.a + x.t + ':data' /* t */ + $2::jsonb + \"T__7\".a\n "
                   "-- :x\nWHERE b = $1 AND c = $2");
    CHECK_EQ(projection->statements[0].params, 1u << STELE_PARAM_STREAM | 1u << STELE_PARAM_DATA);
    stele_projection_destroy(projection);
}

TEST(only_types_that_some_section_wants_are_read)
{
    struct stele_projection *projection =
        parse(HEAD "-- @on A B\nSELECT 1;\n-- @effect B\nSELECT 2;");
    CHECK_EQ(projection->filter.types_count, 3);
    CHECK_EQ(projection->filter.exclude_system, 0);
    CHECK(projection->sections[1].effect);
    CHECK(stele_section_wants(&projection->sections[0], (struct stele_text){"B", 1}));
    CHECK(!stele_section_wants(&projection->sections[1], (struct stele_text){"A", 1}));
    stele_projection_destroy(projection);
    projection = parse(HEAD "-- @on A\nSELECT 1;\n-- @on *\nSELECT 2;");
    CHECK_EQ(projection->filter.types_count, 0);
    CHECK_EQ(projection->filter.exclude_system, 1);
    stele_projection_destroy(projection);
}

TEST(a_file_that_is_too_large_is_refused)
{
    char *const text = calloc(1, 1024 * 1024 + 1);
    struct stele_projection *projection = NULL;
    struct stele_error err = {0};
    CHECK_OUTCOME(stele_projection_parse("p.sql", text, 1024 * 1024 + 1, &projection, &err),
                  STELE_E_LIMIT, err);
    free(text);
}
