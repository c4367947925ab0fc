"""Virtual time: hours pass in milliseconds, in one order of events."""

from __future__ import annotations

import asyncio

import pytest

from simulator.world.clock import Deadlock, run


def test_time_jumps_to_the_next_timer_exactly() -> None:
    async def main() -> list[float]:
        loop, seen = asyncio.get_running_loop(), []
        for seconds in (3600.0, 0.25, 86_400.0):
            await asyncio.sleep(seconds)
            seen.append(loop.time())
        return seen

    assert run(main()) == [3600.0, 3600.25, 90_000.25]


def test_timers_of_one_instant_fire_in_the_order_in_which_they_were_set() -> None:
    async def main() -> list[int]:
        loop, seen = asyncio.get_running_loop(), list[int]()
        for number in range(200):
            loop.call_at(7.0, seen.append, number)
        await asyncio.sleep(7.0)
        return seen

    assert run(main()) == list(range(200))


def test_a_timeout_is_virtual_too() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1000):
                await asyncio.Event().wait()
        return asyncio.get_running_loop().time()

    assert run(main()) == 1000.0


def test_waiting_for_nothing_is_a_deadlock_and_not_a_hang() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock, match="no timer is set"):
        run(main())
