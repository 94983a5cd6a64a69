/*
 * The rules of a lane, frame by frame: what each end of an Exchange call may send, what it may receive, and what that changes.
 *
 * A rule has a condition, in capitals, and an effect. lane.pml tries every order of these steps; the replay of a recorded lane
 * executes the steps of its record. Both include this file, so a rule is written once.
 *
 * COUNT is the type of a count of items.
 */

mtype:frame = { OPEN, ITEMS, END, HALF_CLOSE, ACCEPTED, CREDIT, STOP, CLOSED, BREAK };
/* OPEN to HALF_CLOSE go from the producer to the consumer, ACCEPTED to CLOSED (the status OK) back. BREAK is any other end of the
 * call: a cancelled call, a lost connection, a status other than OK. */

mtype:ending = { NOT_YET, CLEAN, FAULT, BROKEN };
/* How a lane ended, as one of its ends sees it. FAULT: with the fault of the producer. BROKEN: with a fault of the lane itself. */

/* ---- the producer ---- */

typedef Producer {
    bool opened;
    bool accepted;
    bool stopped;          /* it has received STOP */
    bool ended;            /* it has sent END */
    bool half_closed;
    COUNT sent;            /* items */
    COUNT taken;           /* as the last CREDIT reported */
    COUNT limit;           /* items in flight; from the start if the producer knows the limit of the edge, else from ACCEPTED */
    mtype:ending outcome;  /* CLEAN: every item was taken or discarded */
}

#define IN_FLIGHT(p)       (p.sent - p.taken)

#define MAY_OPEN(p)        (!p.opened)
inline open(p) { p.opened = true }

#define MAY_SEND(p, n)     (p.opened && !p.stopped && !p.ended && p.outcome == NOT_YET && (n) > 0 \
                            && IN_FLIGHT(p) + (n) <= p.limit)
inline send(p, n) { p.sent = p.sent + n }

#define MAY_END(p, count)  (p.opened && !p.ended && p.outcome == NOT_YET && (count) == p.sent)
inline end(p) { p.ended = true }

#define MAY_HALF_CLOSE(p)  (p.ended && !p.half_closed && p.outcome == NOT_YET)
inline half_close(p) { p.half_closed = true }

#define ACCEPTED_IS_LEGAL(p, items)       (p.opened && !p.accepted && (items) >= 1 && (items) >= p.limit)
inline on_accepted(p, items) { p.accepted = true; p.limit = items }

#define CREDIT_IS_LEGAL(p, items, most)   (p.accepted && !p.stopped && (items) >= p.taken && (items) <= p.sent \
                                           && (most) >= p.limit)
inline on_credit(p, items, most) { p.taken = items; p.limit = most }

#define STOP_IS_LEGAL(p)                  (p.accepted && !p.stopped)
inline on_stop(p) { p.stopped = true }

#define CLOSED_IS_LEGAL(p)                (p.accepted && p.half_closed)
inline on_closed(p) { p.outcome = CLEAN }

/* A break may be seen at any time. It changes nothing after the status OK. */
inline producer_breaks(p) {
    if
    :: p.outcome == NOT_YET -> p.outcome = BROKEN
    :: else
    fi
}

/* ---- the consumer ---- */

typedef Consumer {
    bool opened;
    bool accepted;
    bool stopped;          /* the node takes nothing more */
    bool stop_sent;
    bool half_closed;      /* it has received HALF_CLOSE */
    bool closed;           /* the call has ended */
    COUNT arrived;         /* items */
    COUNT taken;           /* of these, by the node */
    COUNT discarded;       /* of these, because the node had stopped */
    COUNT reported;        /* taken, as the last CREDIT reported */
    COUNT limit;
    mtype:ending ending;
    COUNT ends;            /* how often the node saw an end */
}

inline finish(c, how) { c.ending = how; c.ends = c.ends + 1 }

#define WAITING(c)         (c.arrived - c.taken - c.discarded)

#define OPEN_IS_LEGAL(c)   (!c.opened)
inline on_open(c) { c.opened = true }

#define MAY_ACCEPT(c, items)  (c.opened && !c.accepted && !c.closed && (items) >= 1)
inline accept(c, items) { c.accepted = true; c.limit = items }

/* The items are first, first + 1, ... of the lane. They may come before the lane was accepted, within the limit of its edge. */
#define ITEMS_ARE_LEGAL(c, first, n, most)  (c.opened && c.ending == NOT_YET && !c.half_closed && (n) > 0 \
                                             && (first) == c.arrived && (c.stopped || WAITING(c) + (n) <= (most)))
inline on_items(c, n) {
    c.arrived = c.arrived + n;
    if
    :: c.stopped -> c.discarded = c.discarded + n
    :: else
    fi
}

#define MAY_TAKE(c)        (!c.stopped && WAITING(c) > 0)
inline take(c) { c.taken = c.taken + 1 }

#define MAY_CREDIT(c, items, most)  (c.accepted && !c.stop_sent && !c.closed && (items) >= c.reported \
                                     && (items) <= c.taken && (most) >= c.limit)
inline credit(c, items, most) { c.reported = items; c.limit = most }

/* The node needs nothing more, of this lane or of any. What waits is discarded. */
inline discard(c) { c.stopped = true; c.discarded = c.arrived - c.taken }

#define MAY_STOP(c)        (c.accepted && c.stopped && !c.stop_sent && c.ending == NOT_YET && !c.closed)
inline stop(c) { c.stop_sent = true }

#define END_IS_LEGAL(c)    (c.opened && c.ending == NOT_YET && !c.half_closed)
inline on_end(c, count, fault) {
    if
    :: fault -> finish(c, FAULT)
    :: !fault && count == c.arrived -> finish(c, CLEAN)
    :: !fault && count != c.arrived -> finish(c, BROKEN)
    fi
}

#define HALF_CLOSE_IS_LEGAL(c)  (c.opened && !c.half_closed)
inline on_half_close(c) {
    c.half_closed = true;
    if
    :: c.ending == NOT_YET -> finish(c, BROKEN)
    :: else
    fi
}

#define MAY_CLOSE(c)       (c.accepted && c.half_closed && c.ending != NOT_YET && WAITING(c) == 0 && !c.closed)
inline close(c) { c.closed = true }

/* A break may be seen at any time. It changes nothing of a lane that has its end already: its items are all there. */
inline consumer_breaks(c) {
    c.closed = true;
    if
    :: c.ending == NOT_YET -> finish(c, BROKEN)
    :: else
    fi
}
