"""What is searched: a method's `Tunable` settings and the learning rate, and how they are drawn.

A simplex of settings is drawn uniformly: x_i = -log u_i with u_i uniform in (0,1], and setting i is
total * x_i / sum x, as shares of independent exponentials are uniform on the simplex.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ValidationError

from compact_bench.errors import UserError, nearest
from compact_bench.suite.sections import Tunable
from compact_bench.tune.trials import LEARNING_RATE, Hyperparameter

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

SMALLEST = 1e-6  # of a draw u: its logarithm must be finite

Space = tuple[Hyperparameter, ...]


class Field(NamedTuple):
    """A setting that is marked as tunable."""

    mark: Tunable
    default: float
    integer: bool


def tunable(config: BaseModel, fixed: Collection[str]) -> dict[str, Field]:
    """The settings that a search may choose: marked, not fixed, and not idle."""
    idle = config.idle() if hasattr(config, "idle") else set()
    found = {}
    for name, info in type(config).model_fields.items():
        mark = next((one for one in info.metadata if isinstance(one, Tunable)), None)
        if mark is not None and name not in fixed and name not in idle:
            found[name] = Field(mark, getattr(config, name), info.annotation is int)
    return found


def make_space(
    config: BaseModel,
    fixed: Collection[str],
    ranges: Mapping[str, Sequence[float]] | None,
    rates: Sequence[float],
    rate: float,
) -> Space:
    """The knobs of a row: of its settings those in `ranges`, or all, and the learning rate.

    config: the row's settings without a search. fixed: names that the suite sets. ranges: narrower
    ones, None for the methods' own. rates, rate: the grid of learning rates and the suite's own.

    Raises UserError for a name that can't be searched or a range that the settings refuse.
    """
    found = tunable(config, fixed)
    for name in ranges or ():
        if name not in found:
            why = " (the row sets it)" if name in fixed else nearest(name, found)
            allowed = ", ".join(found) or "none"
            raise UserError(f"{name!r} can't be searched{why}; of this row one can: {allowed}")
    chosen = {name: found[name] for name in found if ranges is None or name in ranges}
    knobs = [*_simplexes(chosen, ranges or {})]
    for name, field in chosen.items():
        if not field.mark.simplex:
            knobs.append(_knob(name, field, (ranges or {}).get(name)))
    # One rate is none to choose.
    grid = tuple(sorted({*rates, rate})) if len({*rates, rate}) > 1 else ()
    knobs += [Hyperparameter(LEARNING_RATE, rate, choices=grid)] if grid else []
    for knob in knobs:
        _check(config, knob)
    return tuple(knobs)


def _simplexes(
    chosen: Mapping[str, Field], ranges: Mapping[str, Sequence[float]]
) -> list[Hyperparameter]:
    """The knobs that are shares of a sum; a single one left of a simplex has nothing to share."""
    groups: dict[str, dict[str, Field]] = {}
    for name, field in chosen.items():
        if field.mark.simplex:
            if name in ranges and tuple(ranges[name]) != (field.mark.low, field.mark.high):
                raise UserError(
                    f"{name} is a share of a fixed sum: its range is "
                    f"[{field.mark.low:g}, {field.mark.high:g}], not {list(ranges[name])}"
                )
            groups.setdefault(field.mark.simplex, {})[name] = field
    return [
        Hyperparameter(name, field.default, 0.0, total, simplex=simplex, total=total)
        for simplex, fields in groups.items()
        if len(fields) > 1 and (total := math.fsum(one.default for one in fields.values())) > 0
        for name, field in fields.items()
    ]


def _knob(name: str, field: Field, given: Sequence[float] | None) -> Hyperparameter:
    mark = field.mark
    if given is not None and len(given) > 2:
        choices = tuple(sorted({int(v) if field.integer else float(v) for v in given}))
        return Hyperparameter(name, field.default, choices=choices, integer=field.integer)
    low, high = (mark.low, mark.high) if given is None else given
    if mark.log and low <= 0:
        raise UserError(f"{name} is searched on a logarithmic scale: {low:g} is not above 0")
    return Hyperparameter(name, field.default, float(low), float(high), mark.log, field.integer)


def _check(config: BaseModel, knob: Hyperparameter) -> None:
    """The ends of a range must be settings that the method takes."""
    if knob.name == LEARNING_RATE or knob.simplex:
        return
    for value in knob.choices or (knob.low, knob.high):
        whole = int(value) if knob.integer else value
        try:
            type(config).model_validate({**config.model_dump(), knob.name: whole})
        except ValidationError as error:
            message = error.errors(include_url=False)[0]["msg"]
            raise UserError(
                f"{knob.name} can't be {value:g}: {message[:1].lower() + message[1:]}"
            ) from None


def distributions(space: Space, grid: int = 0) -> dict[str, BaseDistribution]:
    """What Optuna draws for each knob: of a simplex u_i, of the others the setting itself.

    grid: with N > 1 only N values of each range, evenly spread on its scale; of a simplex those
    with x_i = 0 .. N - 1.
    """
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    found: dict[str, BaseDistribution] = {}
    for knob in space:
        if knob.choices or grid:
            found[knob.name] = CategoricalDistribution(knob.choices or grid_values(knob, grid))
        elif knob.simplex:
            found[knob.name] = FloatDistribution(SMALLEST, 1.0)
        elif knob.integer:
            found[knob.name] = IntDistribution(int(knob.low), int(knob.high), log=knob.log)
        else:
            found[knob.name] = FloatDistribution(knob.low, knob.high, log=knob.log)
    return found


def grid_values(knob: Hyperparameter, count: int) -> tuple[float, ...]:
    """The values of one knob in a grid, as they are drawn."""
    if knob.choices:
        return knob.choices
    if knob.simplex:
        return tuple(math.exp(-x) for x in range(count))
    shares = [i / (count - 1) for i in range(count)]
    if knob.log:
        values = [knob.low * (knob.high / knob.low) ** share for share in shares]
    else:
        values = [knob.low + (knob.high - knob.low) * share for share in shares]
    return tuple(dict.fromkeys(round(v) for v in values)) if knob.integer else tuple(values)


def settings(space: Space, drawn: Mapping[str, Any]) -> dict[str, float]:
    """The settings that a draw stands for, the learning rate among them."""
    found: dict[str, float] = {}
    for knob in space:
        value = drawn[knob.name]
        if knob.simplex:
            group = [one for one in space if one.simplex == knob.simplex]
            exponentials = {one.name: -math.log(drawn[one.name]) for one in group}
            sum_x = math.fsum(exponentials.values())
            share = exponentials[knob.name] / sum_x if sum_x > 0 else 1 / len(group)
            found[knob.name] = knob.total * share
        else:
            found[knob.name] = int(value) if knob.integer else float(value)
    return found


def defaults(space: Space, grid: int = 0) -> dict[str, Any]:
    """The draw that stands for the method's own settings, or those of the grid nearest to it.

    >>> a, b = (Knob(n, d, 0, 3, simplex="s", total=3) for n, d in (("a", 1.0), ("b", 2.0)))
    >>> settings((a, b), defaults((a, b)))
    {'a': 1.0, 'b': 2.0}
    """
    found: dict[str, Any] = {}
    for knob in space:
        value: float = knob.default
        if knob.simplex:
            value = max(SMALLEST, math.exp(-knob.default))
        elif not knob.choices:
            value = min(max(value, knob.low), knob.high)
        if knob.choices or grid:
            values = knob.choices or grid_values(knob, grid)
            value = min(values, key=lambda one: abs(one - value))
        found[knob.name] = int(value) if knob.integer else value
    return found
