/*
 * Every order of the steps of two lanes into one input of a node, by the rules of lane_rules.pml. Each of PRODUCERS producers sends
 * N items, in frames of one or two, within a window of WINDOW items. `make model` checks it; README.md says what that shows.
 *
 * At any time a producer may fail, the node may stop a lane, and the call may break. Which of these may happen to a lane is chosen at
 * its start: whether a lane ends by itself shows only where none of them can end it.
 */

#ifndef PRODUCERS
#define PRODUCERS 2
#endif
#ifndef WINDOW
#define WINDOW 3
#endif
#ifndef N
#define N 6
#endif
#define COUNT byte
#define CAPACITY 12        /* more frames than are ever under way, so that no end waits to send */

#include "lane_rules.pml"

bool drained[PRODUCERS];   /* the node has seen the end of a lane, and all of its items */
byte input_ends;           /* how often the node has seen the end of its input */

/*
 * The frames that are under way in one direction, the oldest first. It is not a channel of Promela: as plain variables of one process
 * the steps of a lane are independent of those of other lanes, so that spin needs not try all of their orders.
 */
typedef Way {
    byte length;
    mtype:frame kind[CAPACITY];
    COUNT a[CAPACITY];
    COUNT b[CAPACITY]
}

inline put(way, frame, one, two) {
    assert(way.length < CAPACITY);
    way.kind[way.length] = frame;
    way.a[way.length] = one;
    way.b[way.length] = two;
    way.length++
}

/* Removes the oldest frame. Unused entries are 0, so that equal states look equal. */
inline get(way) {
    kind = way.kind[0];
    a = way.a[0];
    b = way.b[0];
    way.length--;
    for (i : 0 .. way.length - 1) {
        way.kind[i] = way.kind[i + 1];
        way.a[i] = way.a[i + 1];
        way.b[i] = way.b[i + 1]
    }
    way.kind[way.length] = 0;
    way.a[way.length] = 0;
    way.b[way.length] = 0;
    i = 0
}

inline clear(way) {
    do
    :: way.length > 0 -> get(way)
    :: else -> break
    od;
    kind = 0; a = 0; b = 0
}

/* What must hold when nothing more happens on a lane. */
inline check_lane(p, c) {
    /* Each end has seen exactly one end. */
    assert(p.outcome != NOT_YET && c.ending != NOT_YET && c.ends == 1);
    /* No item is doubled, and none is lost unless an end has reported it. */
    assert(c.taken + c.discarded <= p.sent);
    assert(c.ending == BROKEN || c.taken + c.discarded == p.sent);
    assert(p.outcome == BROKEN || c.taken + c.discarded == p.sent);
    assert(c.ending != CLEAN || p.stopped || c.stopped || c.taken == N);
    /* A broken call is never a clean end, and without one the lane does not break. */
    assert((c.ending == BROKEN && broken) || (c.ending != BROKEN && end_arrived));
    assert(c.ending != CLEAN || !failed);
    assert((p.outcome == BROKEN && broken) || (p.outcome == CLEAN && c.closed && !broken))
}

/* Forgets how a lane ended, so that the states of the other lanes are not tried once for each of its ends. */
inline forget(p, c) {
    p.opened = 0; p.accepted = 0; p.stopped = 0; p.ended = 0; p.half_closed = 0;
    p.sent = 0; p.taken = 0; p.limit = 0; p.outcome = 0;
    c.opened = 0; c.accepted = 0; c.stopped = 0; c.stop_sent = 0; c.half_closed = 0; c.closed = 0;
    c.arrived = 0; c.taken = 0; c.discarded = 0; c.reported = 0; c.limit = 0; c.ending = 0; c.ends = 0
}

/* Both ends of one lane, and the call between them. */
proctype lane(byte number) {
    Way forward, backward;
    Producer p;
    Consumer c;
    mtype:frame kind;      /* of the frame that is read, with its two numbers */
    COUNT a, b;
    byte i;
    bool failed;           /* the producer's node has failed */
    bool broken;           /* the call has broken */
    bool may_fail, may_stop, may_break;
    bool end_arrived;

    d_step {
        p.outcome = NOT_YET;
        c.ending = NOT_YET
    }
    if
    :: p.limit = WINDOW    /* the producer knows the limit of the edge, and does not wait for ACCEPTED */
    :: skip
    fi;
    select(may_fail : 0 .. 1);
    select(may_stop : 0 .. 1);
    select(may_break : 0 .. 1);

    do
    /* The producer sends. */
    :: d_step { MAY_OPEN(p) ->
            open(p);
            put(forward, OPEN, 0, 0) }
    :: d_step { p.sent < N && MAY_SEND(p, 1) ->
            put(forward, ITEMS, p.sent, 1);
            send(p, 1);
            assert(p.sent - c.taken <= WINDOW) }
    :: d_step { p.sent + 1 < N && MAY_SEND(p, 2) ->
            put(forward, ITEMS, p.sent, 2);
            send(p, 2);
            assert(p.sent - c.taken <= WINDOW) }
    :: d_step { (p.sent == N || p.stopped) && MAY_END(p, p.sent) ->
            end(p);
            put(forward, END, p.sent, false) }
    :: d_step { may_fail && MAY_END(p, p.sent) ->
            failed = true;
            end(p);
            put(forward, END, p.sent, true) }
    :: d_step { MAY_HALF_CLOSE(p) ->
            half_close(p);
            put(forward, HALF_CLOSE, 0, 0) }

    /* The consumer receives. */
    :: d_step { forward.length > 0 ->
            get(forward);
            if
            :: kind == OPEN -> assert(OPEN_IS_LEGAL(c)); on_open(c)
            :: kind == ITEMS -> assert(ITEMS_ARE_LEGAL(c, a, b, WINDOW)); on_items(c, b)
            :: kind == END -> assert(END_IS_LEGAL(c)); on_end(c, a, b); end_arrived = true
            :: kind == HALF_CLOSE -> assert(HALF_CLOSE_IS_LEGAL(c)); on_half_close(c)
            fi;
            kind = 0; a = 0; b = 0 }

    /* The consumer's node takes items, or needs no more of the lane. */
    :: d_step { MAY_TAKE(c) -> take(c) }
    :: d_step { may_stop && c.opened && !c.stopped && !(c.closed && WAITING(c) == 0) -> discard(c) }

    /* The consumer sends. */
    :: d_step { MAY_ACCEPT(c, WINDOW) ->
            accept(c, WINDOW);
            put(backward, ACCEPTED, WINDOW, 0) }
    :: d_step { c.taken > c.reported && c.ending == NOT_YET && MAY_CREDIT(c, c.taken, WINDOW) ->
            credit(c, c.taken, WINDOW);
            put(backward, CREDIT, c.taken, WINDOW) }
    :: d_step { MAY_STOP(c) ->
            stop(c);
            put(backward, STOP, 0, 0) }
    :: d_step { MAY_CLOSE(c) ->
            close(c);
            put(backward, CLOSED, 0, 0) }

    /* The producer receives. */
    :: d_step { backward.length > 0 ->
            get(backward);
            if
            :: kind == ACCEPTED -> assert(ACCEPTED_IS_LEGAL(p, a)); on_accepted(p, a)
            :: kind == CREDIT -> assert(CREDIT_IS_LEGAL(p, a, b)); on_credit(p, a, b)
            :: kind == STOP -> assert(STOP_IS_LEGAL(p)); on_stop(p)
            :: kind == CLOSED -> assert(CLOSED_IS_LEGAL(p) && WAITING(c) == 0); on_closed(p)
            fi;
            kind = 0; a = 0; b = 0 }

    /*
     * The call breaks. What is under way is lost, and both ends see it in one step. That covers breaks which one end sees before
     * the other: what the later one still does cannot reach the earlier one, which might as well see it then.
     */
    :: d_step { may_break && p.opened && !broken && p.outcome == NOT_YET ->
            broken = true;
            clear(forward);
            clear(backward);
            producer_breaks(p);
            consumer_breaks(c) }

    /* Nothing more happens. */
    :: d_step { c.closed && p.outcome != NOT_YET && WAITING(c) == 0 ->
            check_lane(p, c);
            forget(p, c);
            end_arrived = false;
            failed = false;
            broken = false;
            may_fail = false;
            may_stop = false;
            may_break = false }
       break
    od;

    atomic {
        assert(input_ends == 0);
        drained[number] = true
    }
}

/* The input of the node: it ends when every lane has ended and is drained. */
proctype input() {
    byte number;
    do
    :: number < PRODUCERS -> drained[number] -> number++
    :: number == PRODUCERS -> break
    od;
    input_ends++
}

init {
    byte number;
    atomic {
        run input();
        do
        :: number < PRODUCERS -> run lane(number); number++
        :: number == PRODUCERS -> break
        od
    }
    _nr_pr == 1;           /* every process has ended */
    assert(input_ends == 1)
}

/* Every lane ends, and with them the input. */
ltl ends { <> (input_ends == 1) }
