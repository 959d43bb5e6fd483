"""The space of a search: `Tunable` settings and the learning rate, and how they are drawn.

A simplex of settings is drawn uniformly: x_i = -log u_i with u_i uniform in (0,1], and setting i is
total * x_i / sum x, as shares of independent exponentials are uniform on the simplex.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ValidationError

from compact_bench.errors import UserError, nearest
from compact_bench.suite.sections import Tunable
from compact_bench.tune.trials import LEARNING_RATE, Hyperparameter

if TYPE_CHECKING:
    import optuna

SMALLEST = 1e-6  # of a draw u: its logarithm must be finite

Space = tuple[Hyperparameter, ...]


class Field(NamedTuple):
    """A setting that is marked as tunable."""

    mark: Tunable
    default: float
    integer: bool


def make_space(
    config: BaseModel,
    fixed: Collection[str],
    ranges: Mapping[str, Sequence[float]] | None,
    rates: Sequence[float],
    rate: float,
) -> Space:
    """The hyperparameters of a row: of its settings those in `ranges`, or all, and learning rates.

    config: the row's settings without a search. fixed: names that the suite sets. ranges: narrower
    ones, None for the methods' own. rates, rate: the grid of learning rates and the suite's own.

    Raises UserError for a name that can't be searched or a range that the settings refuse.
    """
    idle = config.idle() if hasattr(config, "idle") else set()
    fields = {
        name: Field(mark, getattr(config, name), info.annotation is int)
        for name, info in type(config).model_fields.items()
        for mark in info.metadata
        if isinstance(mark, Tunable) and name not in fixed and name not in idle
    }
    for name in ranges or ():
        if name not in fields:
            why = " (the row sets it)" if name in fixed else nearest(name, fields)
            allowed = ", ".join(fields) or "none"
            raise UserError(f"{name!r} can't be searched{why}; of this row one can: {allowed}")
    fields = {name: fields[name] for name in fields if ranges is None or name in ranges}
    space = _simplexes(fields, ranges or {})
    space += [
        _hyperparameter(name, field, (ranges or {}).get(name))
        for name, field in fields.items()
        if not field.mark.simplex
    ]
    if len(choices := tuple(sorted({*rates, rate}))) > 1:
        space.append(Hyperparameter(LEARNING_RATE, rate, choices=choices))
    for one in space:
        _check(config, one)
    return tuple(space)


def _simplexes(
    fields: Mapping[str, Field], ranges: Mapping[str, Sequence[float]]
) -> list[Hyperparameter]:
    """Those that are shares of a sum; a single one left of a simplex has nothing to share."""
    groups: dict[str, dict[str, Field]] = {}
    for name, field in fields.items():
        if field.mark.simplex:
            if name in ranges and tuple(ranges[name]) != (field.mark.low, field.mark.high):
                raise UserError(
                    f"{name} is a share of a fixed sum: its range is "
                    f"[{field.mark.low:g}, {field.mark.high:g}], not {list(ranges[name])}"
                )
            groups.setdefault(field.mark.simplex, {})[name] = field
    return [
        Hyperparameter(name, field.default, 0.0, total, simplex=simplex, total=total)
        for simplex, group in groups.items()
        if len(group) > 1 and (total := math.fsum(one.default for one in group.values())) > 0
        for name, field in group.items()
    ]


def _hyperparameter(name: str, field: Field, given: Sequence[float] | None) -> Hyperparameter:
    mark = field.mark
    if given is not None and len(given) > 2:
        choices = tuple(sorted({int(v) if field.integer else float(v) for v in given}))
        return Hyperparameter(name, field.default, choices=choices, integer=field.integer)
    low, high = (mark.low, mark.high) if given is None else given
    if mark.log and low <= 0:
        raise UserError(f"{name} is searched on a logarithmic scale: {low:g} is not above 0")
    return Hyperparameter(name, field.default, float(low), float(high), mark.log, field.integer)


def _check(config: BaseModel, one: Hyperparameter) -> None:
    """The ends of a range must be settings that the method takes."""
    if one.name == LEARNING_RATE or one.simplex:
        return
    for value in one.choices or (one.low, one.high):
        setting = int(value) if one.integer else value
        try:
            type(config).model_validate({**config.model_dump(), one.name: setting})
        except ValidationError as error:
            message = error.errors(include_url=False)[0]["msg"]
            reason = message[:1].lower() + message[1:]
            raise UserError(f"{one.name} can't be {value:g}: {reason}") from None


def suggest(trial: optuna.Trial, space: Space) -> None:
    """Have Optuna draw each hyperparameter: of a simplex u_i, of others the setting itself."""
    for one in space:
        if one.choices:
            trial.suggest_categorical(one.name, one.choices)
        elif one.simplex:
            trial.suggest_float(one.name, SMALLEST, 1.0)
        elif one.integer:
            trial.suggest_int(one.name, int(one.low), int(one.high), log=one.log)
        else:
            trial.suggest_float(one.name, one.low, one.high, log=one.log)


def grid_space(space: Space, count: int) -> Space:
    """The space with `count` choices in place of each range, evenly spread on its scale.

    Of a simplex they are the draws with x_i = 0 .. count - 1.
    """

    def values(one: Hyperparameter) -> tuple[float, ...]:
        if one.simplex:
            return tuple(math.exp(-x) for x in range(count))
        shares = [i / (count - 1) for i in range(count)]
        if one.log:
            spread = [one.low * (one.high / one.low) ** share for share in shares]
        else:
            spread = [one.low + (one.high - one.low) * share for share in shares]
        return tuple(dict.fromkeys(round(v) for v in spread)) if one.integer else tuple(spread)

    return tuple(replace(one, choices=one.choices or values(one)) for one in space)


def settings(space: Space, drawn: Mapping[str, Any]) -> dict[str, float]:
    """The settings that a draw stands for, the learning rate among them."""
    chosen: dict[str, float] = {}
    for one in space:
        value = drawn[one.name]
        if one.simplex:
            group = [-math.log(drawn[o.name]) for o in space if o.simplex == one.simplex]
            sum_x = math.fsum(group)
            share = -math.log(value) / sum_x if sum_x > 0 else 1 / len(group)
            chosen[one.name] = one.total * share
        else:
            chosen[one.name] = int(value) if one.integer else float(value)
    return chosen


def defaults(space: Space) -> dict[str, Any]:
    """The draw that stands for the method's own settings, or the choices nearest to them.

    >>> a = Hyperparameter("a", 1.0, 0, 3, simplex="s", total=3)
    >>> b = Hyperparameter("b", 2.0, 0, 3, simplex="s", total=3)
    >>> settings((a, b), defaults((a, b)))
    {'a': 1.0, 'b': 2.0}
    """
    drawn: dict[str, Any] = {}
    for one in space:
        value: float = one.default
        if one.simplex:
            value = max(SMALLEST, math.exp(-one.default))
        elif not math.isnan(one.low):
            value = min(max(value, one.low), one.high)
        if one.choices:
            value = min(one.choices, key=lambda choice: abs(choice - value))
        drawn[one.name] = int(value) if one.integer and not one.simplex else value
    return drawn
