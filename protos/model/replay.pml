/*
 * The steps of a recorded lane, by the rules of lane_rules.pml: each asserts that its rule allows it, and then takes it. A record
 * becomes an `init` of such steps after this file, and `spin` executes it; it is accepted if no assertion fails.
 *
 * Takes are no frames, so the record lacks them: the replay takes an item when a report shows that the node had taken it.
 */

#define COUNT int

#include "lane_rules.pml"

chan forward = [255] of { mtype:frame, int, int };
chan backward = [255] of { mtype:frame, int, int };
Producer p;
Consumer c;
int edge_limit;            /* what the producer may send before the lane is accepted, and its consumer takes in */
bool broken;               /* one end has seen that the call broke, or has broken it */
mtype:frame kind;
int a, b;

inline starts(limit_before_accepted, limit_of_edge) {
    p.outcome = NOT_YET;
    c.ending = NOT_YET;
    p.limit = limit_before_accepted;
    edge_limit = limit_of_edge
}

/* ---- the producer ---- */

inline sends_open() { assert(MAY_OPEN(p)); open(p); forward!OPEN, 0, 0 }
inline sends_items(number, n) {
    assert(number == p.sent && MAY_SEND(p, n));
    send(p, n);
    forward!ITEMS, number, n
}
inline sends_end(count_of_items, with_fault) {
    assert(MAY_END(p, count_of_items));
    end(p);
    forward!END, count_of_items, with_fault
}
inline sends_half_close() { assert(MAY_HALF_CLOSE(p)); half_close(p); forward!HALF_CLOSE, 0, 0 }

inline next_backward(frame, one, two) {
    assert(nempty(backward));
    backward?kind, a, b;
    assert(kind == frame && a == one && b == two)
}
inline receives_accepted(limit_items) {
    next_backward(ACCEPTED, limit_items, 0);
    assert(ACCEPTED_IS_LEGAL(p, limit_items));
    on_accepted(p, limit_items)
}
inline receives_credit(taken_items, limit_items) {
    next_backward(CREDIT, taken_items, limit_items);
    assert(CREDIT_IS_LEGAL(p, taken_items, limit_items));
    on_credit(p, taken_items, limit_items)
}
inline receives_stop() { next_backward(STOP, 0, 0); assert(STOP_IS_LEGAL(p)); on_stop(p) }
inline receives_closed() { next_backward(CLOSED, 0, 0); assert(CLOSED_IS_LEGAL(p)); on_closed(p) }
inline producer_sees_break() { producer_breaks(p); broken = true }
inline producer_reports(how) { assert(p.outcome == how) }

/* ---- the consumer ---- */

inline next_forward(frame, one, two) {
    assert(nempty(forward));
    forward?kind, a, b;
    assert(kind == frame && a == one && b == two)
}
inline receives_open() { next_forward(OPEN, 0, 0); assert(OPEN_IS_LEGAL(c)); on_open(c) }
inline receives_items(number, n) {
    next_forward(ITEMS, number, n);
    assert(ITEMS_ARE_LEGAL(c, number, n, (c.accepted -> c.limit : edge_limit)));
    on_items(c, n)
}
inline receives_end(count_of_items, with_fault) {
    next_forward(END, count_of_items, with_fault);
    assert(END_IS_LEGAL(c));
    on_end(c, count_of_items, with_fault)
}
/* The consumer finds no more frames. A call that broke looks so at first. */
inline reads_no_more() {
    if
    :: forward?[HALF_CLOSE, 0, 0] -> next_forward(HALF_CLOSE, 0, 0); assert(HALF_CLOSE_IS_LEGAL(c)); on_half_close(c)
    :: else -> assert(broken); consumer_breaks(c)
    fi
}
inline has_taken(items) {
    do
    :: c.taken < items && MAY_TAKE(c) -> take(c)
    :: else -> break
    od;
    assert(c.taken >= items)
}
inline sends_accepted(limit_items) {
    assert(MAY_ACCEPT(c, limit_items));
    accept(c, limit_items);
    backward!ACCEPTED, limit_items, 0
}
inline sends_credit(taken_items, limit_items) {
    has_taken(taken_items);
    assert(MAY_CREDIT(c, taken_items, limit_items));
    credit(c, taken_items, limit_items);
    backward!CREDIT, taken_items, limit_items
}
inline sends_stop() {
    if
    :: !c.stopped -> discard(c)
    :: else
    fi;
    assert(MAY_STOP(c));
    stop(c);
    backward!STOP, 0, 0
}
inline sends_closed() { assert(MAY_CLOSE(c)); close(c); backward!CLOSED, 0, 0 }
inline consumer_sees_break() { consumer_breaks(c); broken = true }
/* How the node saw the lane end, the items that it has taken by then, and whether it had stopped the lane. */
inline consumer_reports(how, taken_items, has_stopped) {
    if
    :: c.stopped -> assert(has_stopped)
    :: else -> has_taken(taken_items)
    fi;
    assert(c.taken <= taken_items && taken_items <= c.arrived);
    if
    :: has_stopped && !c.stopped -> discard(c)
    :: else
    fi;
    assert(c.ending == how && c.ends == 1)
}
