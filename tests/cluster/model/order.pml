/* Closed stamps and the order of execution: K1, K2, K3 of docs/internals/cluster.md.
 *
 * Two partitions, three nodes. Each partition has a log whose leader changes at any time: the new leader's
 * log counts, and what it does not have of the uncommitted rest is lost. Leaders give commands stamps from
 * their node's clock, which jumps; a partition that lags behind a command gets a tick. A node learns what is
 * committed as late as it likes, executes the lowest stamp that it knows once every partition is closed at or
 * above it, and may be started anew, with nothing but its log and its store. Node 0 leads and votes only:
 * two that execute are enough to differ.
 *
 * A command can be announced: a node picks a tick above its clock and tells the others, whose partitions tick for it
 * before there is such a command; a leader may give it to a command if it is above its own clock. The announcement is
 * heard as late as one likes, or never.
 *
 * Claims, as assertions:
 *     ORDER  no node executes a command below one that it has executed
 *     SKIP   no node learns of a command below one that it has executed, unless it has executed it as well
 *     SAME   every node executes the same sequence
 *     GROW   stamps grow along each log
 *     STUCK  when nothing happens any more, everything that is committed has been executed everywhere
 *
 * Planted errors (-DBUG=n), each of which breaks a claim:
 *     1  a leader's clock does not look at the stamps that its node has stored
 *     2  a node executes without waiting for the other partition
 *     3  what is stored closes, instead of what is committed
 *     4  no ticks
 *     5  the clock starts anew when the node does
 *     6  a leader that does not have everything that is committed
 *     7  a node started anew executes again what its store has
 *     8  a leader gives a command the tick that was announced, although its clock is above it */

#ifndef BUG
#define BUG 0
#endif
#define NODES 3
#define PARTS 2
#ifndef LENGTH
#define LENGTH 3   /* Entries of a log. */
#endif
#ifndef TICKS_MAX
#define TICKS_MAX 5 /* Of clocks. */
#endif
#ifndef COMMANDS
#define COMMANDS 2
#endif
#ifndef CHANGES
#define CHANGES 2  /* Of leaders. */
#endif
#ifndef STARTS
#define STARTS 1   /* Of nodes, anew. */
#endif
#ifndef ANNOUNCED
#define ANNOUNCED 0 /* 1 + the node that may announce; 4: any; 0: none. */
#endif

/* The logs. A stamp is its tick, then its partition. */
byte tick[PARTS * LENGTH];
bit command[PARTS * LENGTH];
byte length[PARTS];
byte committed[PARTS];
byte leader[PARTS];
byte place[PARTS * LENGTH]; /* 1 + its number in the sequence that nodes execute; 0: not yet. */
byte executed_all;          /* Commands in that sequence. */

/* Nodes. */
byte stored[PARTS * NODES]; /* Entries of the log as it is now. */
byte known[PARTS * NODES];  /* Committed ones that it has learned of. */
byte clock[NODES];
byte executed[NODES];       /* Commands. */
byte last[NODES];           /* The stamp of the last one. */

byte announced = 0;         /* The tick of the only announcement; 0: there was none. */
bit heard[NODES];           /* Who has heard of it. */

byte commands = 0;
byte changes = 0;
byte starts = 0;

#define AT(p, i) ((p) * LENGTH + (i))
#define OF(p, n) ((p) * NODES + (n))
#define STAMP(p, i) (tick[AT(p, i)] * PARTS + (p))
#define MAX(a, b) ((a) > (b) -> (a) : (b))
#define MIN(a, b) ((a) < (b) -> (a) : (b))

/* Of partition p, as node n sees it; 0: it knows of nothing. */
#if BUG == 3
#define CLOSED(n, p) (stored[OF(p, n)] == 0 -> 0 : STAMP(p, stored[OF(p, n)] - 1))
#else
#define CLOSED(n, p) (known[OF(p, n)] == 0 -> 0 : STAMP(p, known[OF(p, n)] - 1))
#endif

/* Entry i of p is a command that node n knows of and has not executed. */
#define WAITS(n, p, i) \
    (i < known[OF(p, n)] && command[AT(p, i)] && STAMP(p, i) > last[n])
/* … and it is the next one, as the other partition q is closed. */
#if BUG == 2
#define IS_CLOSED(n, p, i, q) (true)
#else
#define IS_CLOSED(n, p, i, q) (CLOSED(n, q) >= STAMP(p, i))
#endif
#define IS_BELOW(n, p, i, q, k) (!WAITS(n, q, k) || STAMP(q, k) > STAMP(p, i))
#define IS_FIRST(n, p, i) \
    ((i < 1 || !WAITS(n, p, 0)) && (i < 2 || !WAITS(n, p, 1)))
#define IS_NEXT(n, p, i, q) \
    (WAITS(n, p, i) && IS_FIRST(n, p, i) && IS_CLOSED(n, p, i, q) && \
     IS_BELOW(n, p, i, q, 0) && IS_BELOW(n, p, i, q, 1) && IS_BELOW(n, p, i, q, 2))

#define STORED_BY_MOST(p, k) \
    ((stored[OF(p, 0)] >= k) + (stored[OF(p, 1)] >= k) + (stored[OF(p, 2)] >= k) >= 2)

/* A leader puts an entry into its log, with a tick `ahead` above its clock. */
inline put(n, p, is_command, ahead)
{
    clock[n] = clock[n] + ahead;
    tick[AT(p, length[p])] = clock[n];
    command[AT(p, length[p])] = is_command;
    assert(length[p] == 0 || STAMP(p, length[p]) > STAMP(p, length[p] - 1)); /* GROW */
    length[p]++;
    stored[OF(p, n)] = length[p];
}

#define CAN_PUT(n, p, ahead) \
    (leader[p] == n && stored[OF(p, n)] == length[p] && length[p] < LENGTH && \
     clock[n] + ahead <= TICKS_MAX)

/* Has node n stored a command above the last stamp of p? */
#define ABOVE(n, p, q, i) \
    (i < stored[OF(q, n)] && command[AT(q, i)] && \
     (length[p] == 0 || STAMP(q, i) > STAMP(p, length[p] - 1)))
#define LAGS(n, p, q) \
    (ABOVE(n, p, q, 0) || ABOVE(n, p, q, 1) || ABOVE(n, p, q, 2) || \
     (heard[n] && (length[p] == 0 || announced > tick[AT(p, length[p] - 1)])))

#if BUG == 8
#define MAY_HAVE(n) (announced > 0)
#else
#define MAY_HAVE(n) (announced > clock[n])
#endif
#define CAN_GIVE(n, p) (leader[p] == n && stored[OF(p, n)] == length[p] && length[p] < LENGTH && MAY_HAVE(n))

inline announce(n)
{
    clock[n]++;
    announced = clock[n];
    heard[n] = 1;
}

inline hear(n)
{
    heard[n] = 1;
    clock[n] = MAX(clock[n], announced);
}

/* The command gets the tick that was announced. */
inline give(n, p)
{
    clock[n] = announced;
    put(n, p, 1, 0);
    commands++
}

inline store(n, p)
{
    stored[OF(p, n)]++;
#if BUG != 1
    clock[n] = MAX(clock[n], tick[AT(p, stored[OF(p, n)] - 1)]);
#endif
}

inline cut(p, m)
{
    stored[OF(p, m)] = MIN(stored[OF(p, m)], length[p]);
}

inline take_over(n, p)
{
    leader[p] = n;
    changes++;
    length[p] = stored[OF(p, n)];
    committed[p] = MIN(committed[p], length[p]);
    cut(p, 0);
    cut(p, 1);
    cut(p, 2);
#define FORGET(i) \
    if \
    :: i >= length[p] -> tick[AT(p, i)] = 0; command[AT(p, i)] = 0 \
    :: else \
    fi
    FORGET(0);
    FORGET(1);
    FORGET(2);
}

inline learn(n, p)
{
    known[OF(p, n)]++;
    assert(!command[AT(p, known[OF(p, n)] - 1)] || STAMP(p, known[OF(p, n)] - 1) > last[n] ||
           (place[AT(p, known[OF(p, n)] - 1)] > 0 &&
            place[AT(p, known[OF(p, n)] - 1)] <= executed[n])); /* SKIP */
}

inline execute(n, p, i)
{
    assert(STAMP(p, i) > last[n]); /* ORDER */
    if
    :: place[AT(p, i)] == 0 ->
        assert(executed[n] == executed_all); /* SAME */
        executed_all++;
        place[AT(p, i)] = executed_all
    :: else -> assert(place[AT(p, i)] == executed[n] + 1) /* SAME */
    fi;
    executed[n]++;
    last[n] = STAMP(p, i);
}

/* What is left after a start: the log, and the store, which has everything up to the last stamp. */
inline start(n)
{
    starts++;
    heard[n] = 0; /* It may hear of it again. */
    known[OF(0, n)] = 0;
    known[OF(1, n)] = 0;
#if BUG == 5
    clock[n] = 0;
#else
    clock[n] = last[n] / PARTS;
#define SEE(p, i) \
    if \
    :: i < stored[OF(p, n)] -> clock[n] = MAX(clock[n], tick[AT(p, i)]) \
    :: else \
    fi
    SEE(0, 0);
    SEE(0, 1);
    SEE(0, 2);
    SEE(1, 0);
    SEE(1, 1);
    SEE(1, 2);
#endif
#if BUG == 7
    last[n] = 0;
#endif
}

#define PARTITION(n, p, q) \
    :: d_step { CAN_PUT(n, p, 1) && commands < COMMANDS -> put(n, p, 1, 1); commands++ } \
    :: d_step { CAN_PUT(n, p, 2) && commands < COMMANDS -> put(n, p, 1, 2); commands++ } \
    :: d_step { ANNOUNCED && CAN_GIVE(n, p) && commands < COMMANDS -> give(n, p) } \
    :: d_step { CAN_PUT(n, p, 1) && BUG != 4 && LAGS(n, p, q) -> put(n, p, 0, 1) } \
    :: d_step { stored[OF(p, n)] < length[p] && leader[p] != n -> store(n, p) } \
    :: d_step { leader[p] == n && committed[p] < length[p] && \
                STORED_BY_MOST(p, committed[p] + 1) -> committed[p]++ } \
    :: d_step { leader[p] != n && changes < CHANGES && \
                (BUG == 6 || stored[OF(p, n)] >= committed[p]) -> \
                take_over(n, p) } \
    :: d_step { n > 0 && known[OF(p, n)] < committed[p] && known[OF(p, n)] < stored[OF(p, n)] -> \
                learn(n, p) } \
    :: d_step { IS_NEXT(n, p, 0, q) -> execute(n, p, 0) } \
    :: d_step { IS_NEXT(n, p, 1, q) -> execute(n, p, 1) } \
    :: d_step { IS_NEXT(n, p, 2, q) -> execute(n, p, 2) }

proctype node(byte n)
{
end:
    do
    PARTITION(n, 0, 1)
    PARTITION(n, 1, 0)
    :: d_step { (ANNOUNCED == n + 1 || ANNOUNCED == 4) && announced == 0 && clock[n] < TICKS_MAX -> announce(n) }
    :: d_step { announced > 0 && !heard[n] -> hear(n) }
    :: d_step { n > 0 && starts < STARTS && (executed[n] > 0 || clock[n] > 0) -> start(n) }
    od
}

#define COMMITTED_COMMANDS(p) \
    ((0 < committed[p] && command[AT(p, 0)]) + (1 < committed[p] && command[AT(p, 1)]) + \
     (2 < committed[p] && command[AT(p, 2)]))
#define HAS_ROOM \
    (length[0] < LENGTH && length[1] < LENGTH && clock[0] < TICKS_MAX && \
     clock[1] < TICKS_MAX && clock[2] < TICKS_MAX)
#define IS_DONE(n) (executed[n] == COMMITTED_COMMANDS(0) + COMMITTED_COMMANDS(1))

init
{
    atomic {
        leader[1] = 1;
        run node(0);
        run node(1);
        run node(2)
    }
    timeout;
    assert(!HAS_ROOM || (IS_DONE(1) && IS_DONE(2))) /* STUCK */
}
