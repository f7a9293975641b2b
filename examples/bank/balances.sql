-- Balances as of what is stored: a correction counts from when it was made.
-- @projection balances
-- @version 1
-- @category account
-- @tables
CREATE TABLE balances (
    account  TEXT PRIMARY KEY,
    customer TEXT NOT NULL,
    currency TEXT NOT NULL,
    amount   INTEGER NOT NULL CHECK (amount >= 0),
    entries  INTEGER NOT NULL
);
-- @on AccountOpened
INSERT INTO balances (account, customer, currency, amount, entries)
VALUES (:stream, :data ->> '$.customer', :data ->> '$.currency', 0, 0);
-- @on Deposited, TransferReceived
UPDATE balances SET amount = amount + (:data ->> '$.amount'), entries = entries + 1
WHERE account = :stream;
-- @on Withdrawn, TransferSent
UPDATE balances SET amount = amount - (:data ->> '$.amount'), entries = entries + 1
WHERE account = :stream;
-- @on EntryCorrected
UPDATE balances SET
    amount = amount + ((:data ->> '$.amount') - (:data ->> '$.was'))
           * CASE :data ->> '$.entry' WHEN 'Withdrawn' THEN -1 ELSE 1 END
WHERE account = :stream;
