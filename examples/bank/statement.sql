-- Every entry of every account by the day it counts from, corrections in their place.
-- @projection statement
-- @version 1
-- @category account
-- @tables
CREATE TABLE statement (
    account TEXT NOT NULL,
    line    INTEGER NOT NULL,   -- Revision of the event.
    day     TEXT NOT NULL,
    what    TEXT NOT NULL,
    amount  INTEGER NOT NULL,   -- Below 0: it left the account.
    event   TEXT NOT NULL,      -- What stands in this place now: a correction takes it over.
    PRIMARY KEY (account, line)
);
-- @on Deposited, TransferReceived
INSERT INTO statement (account, line, day, what, amount, event)
VALUES (:stream, :revision, substr(coalesce(:metadata ->> '$.effective', :created), 1, 10), :type,
        :data ->> '$.amount', :id);
-- @on Withdrawn, TransferSent
INSERT INTO statement (account, line, day, what, amount, event)
VALUES (:stream, :revision, substr(coalesce(:metadata ->> '$.effective', :created), 1, 10), :type,
        -(:data ->> '$.amount'), :id);
-- @on EntryCorrected
UPDATE statement SET
    amount = (:data ->> '$.amount') * CASE what WHEN 'Withdrawn' THEN -1 ELSE 1 END,
    event = :id
WHERE account = :stream AND event = :metadata ->> '$.corrects';
