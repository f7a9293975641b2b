-- @projection totals
-- @version 1
-- @category account
-- @tables
CREATE TABLE accounts (
    account TEXT PRIMARY KEY,
    cents   INTEGER NOT NULL,
    entries INTEGER NOT NULL
);
-- @on Deposited
INSERT INTO accounts (account, cents, entries)
VALUES (:stream, :data ->> '$.cents', 1)
ON CONFLICT (account) DO UPDATE SET
    cents = accounts.cents + excluded.cents, entries = accounts.entries + 1;
-- @on Withdrawn
UPDATE accounts SET cents = cents - (:data ->> '$.cents'), entries = entries + 1
WHERE account = :stream;
