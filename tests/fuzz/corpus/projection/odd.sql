-- @projection p
-- @version 1
-- @tag a, "b c"
-- @tables
CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT CASE WHEN 1 THEN 2 END; SELECT 3; END;
CREATE TABLE "t" (a, b);
-- @on *
INSERT INTO t VALUES (:stream, $x$;$x$ || E'\'' || ';' /* ; */ || :data::jsonb || `t`.a);
-- @effect "B c"
SELECT 1.5e+3, ':type', :type;
