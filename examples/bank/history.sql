-- Every entry of every account in the order in which entries count, corrections in their place, and the balance after
-- it: what the bank knows now of every day. With --as-of: what it knew then.
-- @projection history
-- @version 1
-- @category account
-- @order effective
-- @tables
CREATE TABLE entries (
    account TEXT NOT NULL,
    line    INTEGER NOT NULL,
    day     TEXT NOT NULL,      -- From which it counts.
    what    TEXT NOT NULL,
    amount  INTEGER NOT NULL,   -- Below 0: it left the account.
    PRIMARY KEY (account, line)
);
CREATE VIEW history AS
SELECT account, line, day, what, amount, sum(amount) OVER (PARTITION BY account ORDER BY line) AS balance
FROM entries;
-- @undo
DELETE FROM entries WHERE account = :stream;
-- @on Deposited, TransferReceived
INSERT INTO entries (account, line, day, what, amount)
SELECT :stream, coalesce(max(line), 0) + 1, substr(:effective, 1, 10), :type, :data ->> '$.amount'
FROM entries WHERE account = :stream;
-- @on Withdrawn, TransferSent
INSERT INTO entries (account, line, day, what, amount)
SELECT :stream, coalesce(max(line), 0) + 1, substr(:effective, 1, 10), :type, -(:data ->> '$.amount')
FROM entries WHERE account = :stream;
-- @on EntryCorrected
INSERT INTO entries (account, line, day, what, amount)
SELECT :stream, coalesce(max(line), 0) + 1, substr(:effective, 1, 10), :data ->> '$.entry',
       (:data ->> '$.amount') * CASE :data ->> '$.entry' WHEN 'Withdrawn' THEN -1 ELSE 1 END
FROM entries WHERE account = :stream;
