/* Forwarding exactly once: K5 of docs/internals/cluster.md.
 *
 * One group of three nodes, with real logs: leaders of different terms append to theirs at the same time,
 * followers take over a leader's log, voters look at whose log is newer, and only an entry of the leader's own term is
 * committed by counting. An origin beside them forwards commands: numbered within a term, sent again and again, so a
 * leader can get every message that was ever sent to its term, at any time and any number of times, also those of an
 * earlier life of the origin. The origin learns what is committed as late as it likes, gives commands up, and may
 * start anew.
 *
 * Claims, as assertions:
 *     RAFT   what is committed stays committed
 *     ONCE   no command is committed twice
 *     FAILED a command that was reported as definitely not done is not committed, nor will be
 *     HERE   a command that is taken back, to be sent in a later term, is not committed
 *
 * Planted errors (-DBUG=n), each of which breaks a claim:
 *     1  a leader takes every number
 *     2  the origin goes on in a new term as soon as it hears of its leader
 *     3  the origin takes an entry of the term in which it sent for one of a later term
 *     4  a command in doubt is reported as not done
 *     5  a leader of a later term accepts what was numbered in an earlier one
 *     6  a leader begins to count anew for every life of the origin that it hears of, also for an earlier one
 *     7  a leader takes a number although those before are missing, and later those as well */

#ifndef BUG
#define BUG 0
#endif
#define NODES 3
#ifndef TERMS
#define TERMS 3  /* Leaders, at most; terms are 1 … */
#endif
#ifndef LENGTH
#define LENGTH 5 /* Entries of a log. */
#endif
#ifndef COMMANDS
#define COMMANDS 2 /* 1 … */
#endif
#ifndef LIVES
#define LIVES 2  /* Of the origin. */
#endif

/* An entry is its term times 8, and its command; 0: the leader's own, the first of its term. */
#define ENTRY(t, c) ((t) * 8 + (c))
#define TERM(e) ((e) / 8)
#define COMMAND(e) ((e) % 8)

/* Nodes. */
byte entry[NODES * LENGTH];
byte length[NODES];
byte term[NODES];

/* Leaders, by term. */
byte leader[TERMS + 1];           /* 1 + node; 0: there was no election. */
byte has[(TERMS + 1) * NODES];    /* What a follower has confirmed in that term. */
byte life_of[TERMS + 1];          /* Of the origin that it counts for. */
byte taken[TERMS + 1];            /* The last number that it has taken. */
byte terms = 0;

/* What is committed. */
byte log[LENGTH];
byte committed = 0;

/* The origin. */
mtype = { QUEUED, SENT, DONE, NOT_DONE, UNKNOWN };
mtype state[COMMANDS + 1] = QUEUED;
byte number[COMMANDS + 1];        /* In the lane. */
byte life = 1;
byte heard = 0;                   /* The highest term whose leader it has heard of. */
byte lane = 0;                    /* The term in which it sends. */
byte numbers = 0;
byte seen = 0;                    /* Committed entries. */
byte seen_term = 0;

/* Messages, by life, term and number: never lost for good, never gone. */
#define NUMBERS (COMMANDS + 1)
byte sent[(LIVES + 1) * (TERMS + 1) * NUMBERS];
#define MESSAGE(l, t, n) sent[((l) * (TERMS + 1) + (t)) * NUMBERS + (n)]

#define E(n, i) entry[(n) * LENGTH + (i)]
#define LAST_TERM(n) (length[n] == 0 -> 0 : TERM(E(n, length[n] - 1)))
#define IS_AS_NEW(n, m) \
    (LAST_TERM(n) > LAST_TERM(m) || (LAST_TERM(n) == LAST_TERM(m) && length[n] >= length[m]))
#define LEADS(n, t) (leader[t] == (n) + 1 && term[n] == (t))

/* ---- The group ---- */

inline append(n, t, c)
{
    E(n, length[n]) = ENTRY(t, c);
    length[n]++;
    has[(t) * NODES + (n)] = length[n]
}

/* n is elected with the vote of m, and of itself. The first leader is always node 0, by the vote of node 1: they are all
 * alike. */
inline elect(n, m)
{
    terms++;
    term[n] = terms;
    term[m] = terms;
    leader[terms] = (n) + 1;
    append(n, terms, 0)
}

inline copy(from, to)
{
    length[to] = length[from];
    E(to, 0) = E(from, 0);
    E(to, 1) = E(from, 1);
    E(to, 2) = E(from, 2);
    E(to, 3) = E(from, 3);
    E(to, 4) = E(from, 4)
}

inline commit_one(n)
{
    log[committed] = E(n, committed);
    assert(COMMAND(log[committed]) == 0 ||
           (state[COMMAND(log[committed])] != NOT_DONE)); /* FAILED */
#define DIFFERS(i) \
    assert(i >= committed || COMMAND(log[i]) == 0 || COMMAND(log[i]) != COMMAND(log[committed])) /* ONCE */
    DIFFERS(0);
    DIFFERS(1);
    DIFFERS(2);
    DIFFERS(3);
    committed++
}

/* n, who leads in term t, commits everything that m has confirmed. */
inline commit(n, m, t)
{
#define STAYS(i) assert(i >= committed || i >= length[n] || log[i] == E(n, i)) /* RAFT */
    assert(committed <= length[n]);
    STAYS(0);
    STAYS(1);
    STAYS(2);
    STAYS(3);
    STAYS(4);
    do
    :: committed < has[(t) * NODES + (m)] && committed < length[n] -> commit_one(n)
    :: else -> break
    od;
    skip
}

#define PAIR(n, m) \
    :: d_step { terms < TERMS && IS_AS_NEW(n, m) && length[n] < LENGTH && \
                (terms > 0 || ((n) == 0 && (m) == 1)) -> elect(n, m) } \
    :: d_step { terms > 0 && leader[term[n]] == (n) + 1 && term[m] <= term[n] && \
                has[term[n] * NODES + (m)] < length[n] -> \
                term[m] = term[n]; copy(n, m); has[term[n] * NODES + (m)] = length[n] } \
    :: d_step { terms > 0 && leader[term[n]] == (n) + 1 && \
                has[term[n] * NODES + (m)] > committed && \
                TERM(E(n, has[term[n] * NODES + (m)] - 1)) == term[n] -> \
                commit(n, m, term[n]) }

/* ---- The leader of term t gets a message of a life, sent in term s ---- */

#if BUG == 1
#define IS_NEXT(l, t, k) (life_of[t] <= (l))
#elif BUG == 6
#define IS_NEXT(l, t, k) ((life_of[t] != (l) && (k) == 1) || (life_of[t] == (l) && (k) == taken[t] + 1))
#elif BUG == 7
#define IS_NEXT(l, t, k) (life_of[t] <= (l) && (k) != taken[t])
#else
#define IS_NEXT(l, t, k) ((life_of[t] < (l) && (k) == 1) || (life_of[t] == (l) && (k) == taken[t] + 1))
#endif

inline take(t, l, s, k)
{
    life_of[t] = l;
    taken[t] = k;
    append(leader[t] - 1, t, MESSAGE(l, s, k))
}

#define GETS(t, l, s, k) \
    :: d_step { MESSAGE(l, s, k) != 0 && leader[t] != 0 && term[leader[t] - 1] == (t) && \
                length[leader[t] - 1] < LENGTH && IS_NEXT(l, t, k) -> take(t, l, s, k) }

/* ---- The origin ---- */

#define IS_NOT(i, c) (i >= committed || COMMAND(log[i]) != c)
#define ABSENT(c) (IS_NOT(0, c) && IS_NOT(1, c) && IS_NOT(2, c) && IS_NOT(3, c) && IS_NOT(4, c))
#define ANY_SENT (state[1] == SENT || state[2] == SENT)

inline see()
{
    seen_term = TERM(log[seen]);
    if
    :: COMMAND(log[seen]) != 0 && (state[COMMAND(log[seen])] == SENT ||
                                   state[COMMAND(log[seen])] == QUEUED) ->
        state[COMMAND(log[seen])] = DONE
    :: else
    fi;
    seen++
}

inline send(c)
{
    numbers++;
    number[c] = numbers;
    MESSAGE(life, lane, numbers) = c;
    state[c] = SENT
}

#if BUG == 3
#define IS_OVER (seen_term >= lane)
#else
#define IS_OVER (seen_term > lane)
#endif

/* None of what it sent in the lane's term is in a log, nor will be. */
inline take_back()
{
    if
    :: state[1] == SENT -> state[1] = QUEUED; assert(ABSENT(1)) /* HERE */
    :: else
    fi;
    if
    :: state[2] == SENT -> state[2] = QUEUED; assert(ABSENT(2)) /* HERE */
    :: else
    fi
}

inline begin_life()
{
    life++;
    heard = 0;
    lane = 0;
    numbers = 0;
    seen_term = 0;
    /* What the earlier life had under way is nobody's any more. */
    if
    :: state[1] == SENT -> state[1] = UNKNOWN
    :: else
    fi;
    if
    :: state[2] == SENT -> state[2] = UNKNOWN
    :: else
    fi
}

#define COMMAND_OF(c) \
    :: d_step { state[c] == QUEUED && lane > 0 && lane == heard && \
                numbers + 1 < NUMBERS && ((c) == 1 || state[1] != QUEUED) -> send(c) } \
    :: d_step { state[c] == QUEUED && numbers + lane + seen_term > 0 -> state[c] = NOT_DONE; \
                assert(ABSENT(c)) /* FAILED */ } \
    :: d_step { state[c] == SENT -> state[c] = (BUG == 4 -> NOT_DONE : UNKNOWN) }

proctype group()
{
end:
    do
    PAIR(0, 1)
    PAIR(0, 2)
    PAIR(1, 0)
    PAIR(1, 2)
    PAIR(2, 0)
    PAIR(2, 1)
#define GETS_OF(l, t, s) \
    GETS(t, l, s, 1) \
    GETS(t, l, s, 2)
#if LIVES >= 2
#define GETS_ALL(t, s) GETS_OF(1, t, s) GETS_OF(2, t, s)
#else
#define GETS_ALL(t, s) GETS_OF(1, t, s)
#endif
    GETS_ALL(1, 1)
#if TERMS >= 2
    GETS_ALL(2, 2)
#endif
#if TERMS >= 3
    GETS_ALL(3, 3)
#endif
#if BUG == 5
    GETS_ALL(2, 1)
#if TERMS >= 3
    GETS_ALL(3, 2)
#endif
#endif
    od
}

proctype origin()
{
end:
    do
    COMMAND_OF(1)
    COMMAND_OF(2)
    :: d_step { seen < committed -> see() }
    :: d_step { heard < terms -> heard = terms }
    :: d_step { ANY_SENT && IS_OVER -> take_back() }
#if BUG == 2
    :: d_step { lane < heard -> take_back(); lane = heard; numbers = 0 }
#else
    :: d_step { lane < heard && !ANY_SENT -> lane = heard; numbers = 0 }
#endif
    :: d_step { life < LIVES && lane > 0 -> begin_life() }
    od
}

init
{
    atomic {
        run group();
        run origin()
    }
}
