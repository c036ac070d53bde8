"""Claims of pump/meters.py."""

from __future__ import annotations

import math

import trio

from phloem.pump.meters import Meter


def scope() -> trio.CancelScope:
    return trio.CancelScope(deadline=math.inf)


def test_one_dispatch_has_all_that_is_left() -> None:
    meter, one = Meter(10.0, 0.0), scope()
    meter.start(one, 3.0)
    assert one.deadline == 13.0
    meter.stop(one, 7.0)
    assert not meter.empty(7.0)
    again = scope()
    meter.start(again, 20.0)
    assert again.deadline == 26.0


def test_two_side_by_side_spend_it_twice_as_fast() -> None:
    meter, one, two = Meter(10.0, 0.0), scope(), scope()
    meter.start(one, 0.0)
    meter.start(two, 2.0)
    assert one.deadline == two.deadline == 6.0
    meter.stop(one, 4.0)
    assert two.deadline == 8.0
    meter.stop(two, 8.0)
    assert meter.empty(8.0)


def test_a_nearer_deadline_of_the_handler_holds() -> None:
    meter, one = Meter(10.0, 0.0), scope()
    one.deadline = 4.0
    meter.start(one, 0.0)
    assert one.deadline == 4.0


def test_that_it_is_nearly_spent_is_said_once_and_not_when_nothing_is_left() -> None:
    meter, one = Meter(10.0, 0.0), scope()
    meter.start(one, 0.0)
    assert meter.now_near(7.9) is None
    assert meter.now_near(8.0) == 2.0
    assert meter.now_near(9.0) is None
    late = Meter(10.0, 0.0)
    late.start(scope(), 0.0)
    assert late.now_near(10.0) is None
