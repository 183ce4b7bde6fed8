"""How often stalls are found, and found where none was: over recordings that are simulated, so that the truth is known.

    python benchmarks/stalls.py --runs 1000

Healthy runs differ in load, number of members, and kind of service times, and have big lists. Faulty ones are the same
with six stops of one process, of 100 ms to 1 s each, or with a network that is slow for a while. With `--untraced` etcd
sends no spans: then what is told of is "etcd" or "apiserver or etcd".
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from random import Random
from statistics import median
from typing import Final, NamedTuple

from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans
from simulated import APISERVER, BEGIN, Plan, Stop, simulate

import k8strace
from k8strace.findings import Stall, stalls

FEWEST_WAITING: Final = 3
"""Stops that fewer requests lay in need not be found."""
BOTH: Final = frozenset({"etcd", "apiserver or etcd"})
"""What may be told of an etcd without spans."""


def plan(seed: int) -> Plan:
    """A healthy run."""
    random = Random(seed)
    return Plan(
        seed,
        seconds=random.choice([15.0, 25.0]),
        per_second=random.choice([30.0, 80.0, 150.0]),
        members=random.choice([1, 1, 3]),
        workers=random.choice([1, 4, 16]),
        heavy_every=random.choice([0.0, 1.0]),
        moments=random.choice([0.0, 0.5, 2.0]),
    )


def stopped(seed: int) -> Plan:
    """The same, and one process stops now and then."""
    random, healthy = Random(seed + 1_000_000), plan(seed)
    healthy.seconds = 25.0
    healthy.per_second = random.choice([80.0, 150.0])
    process = random.choice([APISERVER, *(f"etcd-{number}" for number in range(healthy.members))])
    length = random.choice([0.1, 0.25, 0.5, 1.0])
    begins = [3.0 + 3.5 * number + random.random() for number in range(6)]
    healthy.stops = [(process, begin, begin + length) for begin in begins]
    return healthy


def slow_network(seed: int) -> Plan:
    """The same, and now and then everything between apiserver and etcd arrives later."""
    random, healthy = Random(seed + 2_000_000), plan(seed)
    healthy.seconds = 25.0
    delay, length = random.choice([0.02, 0.1, 0.25]), random.choice([0.5, 1.0, 2.0])
    healthy.uneven = random.choice([0.0, 0.0, 0.1, 0.3])
    begins = [3.0 + 4.0 * number for number in range(5)]
    healthy.slow_network = [(begin, begin + length, delay) for begin in begins]
    return healthy


def found(of: Plan, *, traced: bool = True) -> tuple[list[Stall], dict[Stop, int]]:
    """What is found in a run, with or without etcd's spans, and how many requests lay in each of its stops."""
    run = simulate(of)
    if not traced:
        kept = [each for each in run.message.resource_spans if _instance(each) == APISERVER]
        del run.message.resource_spans[:]
        run.message.resource_spans.extend(kept)
    return stalls(k8strace.join(k8strace.decode(run.message))), run.waiting


def _instance(resource: ResourceSpans) -> str:
    (instance,) = (each for each in resource.resource.attributes if each.key == "service.instance.id")
    return instance.value.string_value


def names(stall: Stall, process: str, *, traced: bool = True) -> bool:
    """Whether a stall is told of this process, as far as that can be told."""
    if traced:
        return stall.process.instance == process
    return stall.process.service in ({"apiserver or etcd"} if process == APISERVER else BOTH)


class Score(NamedTuple):
    """Of some runs with stops."""

    due: int
    """Stops that at least three requests lay in."""
    hit: int
    found: int
    right: int
    start_ns: list[int]
    end_ns: list[int]


def ns(seconds: float) -> int:
    """A time of a simulation, in unix ns."""
    return BEGIN + round(seconds * 1e9)


def score(seeds: range, *, traced: bool = True) -> Score:
    """Runs with stops."""
    due = hit = right = total = 0
    start_ns, end_ns = [], []
    for seed in seeds:
        told, waiting = found(stopped(seed), traced=traced)
        busy = {stop for stop, requests in waiting.items() if requests >= FEWEST_WAITING}
        pairs = [
            (stop, stall)
            for stall in told
            for stop in waiting
            if names(stall, stop[0], traced=traced)
            and min(stall.end_unix_nano, ns(stop[2])) > max(stall.start_unix_nano, ns(stop[1]))
        ]
        due, hit = due + len(busy), hit + len(busy & {stop for stop, _ in pairs})
        right, total = right + len(pairs), total + len(told)
        start_ns += [abs(stall.start_unix_nano - ns(stop[1])) for stop, stall in pairs]
        end_ns += [abs(stall.end_unix_nano - ns(stop[2])) for stop, stall in pairs]
    return Score(due, hit, total, right, start_ns, end_ns)


def alarms(
    seeds: range, make: Callable[[int], Plan] = plan, *, traced: bool = True
) -> Iterator[tuple[int, list[Stall]]]:
    """Runs without a stop in which one is found."""
    for seed in seeds:
        if told := found(make(seed), traced=traced)[0]:
            yield seed, told


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=100, help="healthy runs; a fifth as many of each fault")
    parser.add_argument("--untraced", action="store_true", help="etcd sends no spans")
    asked = parser.parse_args()
    runs, traced = asked.runs, not asked.untraced
    wrong = dict(alarms(range(runs), traced=traced))
    print(f"healthy: {len(wrong)} of {runs} runs with a stall: {sorted(wrong)}")
    slow = dict(alarms(range(runs // 5), slow_network, traced=traced))
    print(f"slow network: {len(slow)} of {runs // 5} runs with a stall: {sorted(slow)}")
    s = score(range(runs // 5), traced=traced)
    print(f"stopped: {s.hit} of {s.due} stops that {FEWEST_WAITING} requests lay in were found")
    print(f"process right in {s.right} of {s.found} stalls")
    if s.right:
        print(f"start {median(s.start_ns) / 1e6:.1f} ms, end {median(s.end_ns) / 1e6:.1f} ms off (median)")


if __name__ == "__main__":
    main()
