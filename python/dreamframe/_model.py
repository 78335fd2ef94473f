"""Base class of the parameter classes, with an interface like pydantic's models and the library's own validation.

This module knows no individual parameter: names and types come from the classes in `params.py`; checks, bounds,
defaults and descriptions come from the native module.
"""

import copy
import inspect
import json
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, TypeVar

from . import _dreamframe

# Both are in the standard library since Python 3.11.
if TYPE_CHECKING:
    from enum import StrEnum as StrEnum

    from typing_extensions import dataclass_transform
elif sys.version_info >= (3, 11):
    from enum import StrEnum
    from typing import dataclass_transform
else:
    from enum import Enum

    class StrEnum(str, Enum):
        """An enumeration of texts."""

        __str__ = str.__str__
        __format__ = str.__format__

    def dataclass_transform(**_: Any) -> Any:
        """Returns a decorator without an effect: it describes a class to type checkers."""
        return lambda decorated: decorated


Selection: TypeAlias = AbstractSet[str] | AbstractSet[int] | Mapping[str, Any] | Mapping[int, Any] | None
"""Names to include or exclude; a mapping selects inside a field's value, and `__all__` means every item of a list."""

_Self = TypeVar("_Self", bound="Model")


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """The description of a field."""

    annotation: Any
    """Its type."""
    default: Any
    """The default; None for a required field."""
    description: str
    """Its documentation."""
    required: bool
    """Whether it is required."""
    allowed: str
    """The allowed values, worded to follow "expected"; empty for a field with fields of its own."""
    cost: str | None
    """The usual cost of changing it, as the name of a `Cost`; None for a field with fields of its own."""

    def is_required(self) -> bool:
        """Returns whether the field is required."""
        return self.required


@dataclass_transform(kw_only_default=True, eq_default=True)
class Model:
    """Holds validated values in named fields, with the interface of a pydantic model.

    Differences from pydantic:

    - Validation is strict: a tuple is accepted as a list, an integer as a float, and numpy scalars as Python numbers,
      but not a string as a number or a bool as an integer.
    - Assigning an attribute checks its name, type and range, and leaves the object unchanged on an error. Rules that
      involve several fields are checked at construction and on use, so that fields can be set one at a time.
    - `model_copy` validates its updates.
    - `repr` shows only the fields that differ from the defaults.
    """

    _part: ClassVar[str]
    """The path of this class in the table of parameters; empty for the parameters as a whole."""
    model_fields: ClassVar[dict[str, FieldInfo]]
    """The descriptions of the fields, in order."""

    def __init_subclass__(cls) -> None:
        if "_part" not in cls.__dict__:
            return
        annotations = {
            name: annotation
            for name, annotation in inspect.get_annotations(cls).items()
            if typing.get_origin(annotation) is not ClassVar
        }
        known = _dreamframe._fields(cls._part)
        if list(annotations) != list(known):
            raise TypeError(f"{cls.__name__} has other fields than the library: run `cargo xtask stubs`")
        cls._revivers = {name: _reviver(annotation) for name, annotation in annotations.items()}
        cls.model_fields = {
            name: FieldInfo(annotations[name], default=cls._revivers[name](facts.pop("default"), None), **facts)
            for name, facts in known.items()
        }
        for name in annotations:
            if name in cls.__dict__:
                delattr(cls, name)
        _take_by_name(cls)

    _revivers: ClassVar[dict[str, Callable[[Any, Any], Any]]]

    def _fill(self, checked: dict[str, Any], given: Mapping[str, Any]) -> None:
        revivers = self._revivers
        values = {name: revivers[name](value, given.get(name)) for name, value in checked.items()}
        object.__setattr__(self, "__dict__", values)
        object.__setattr__(self, "_set", set(given))

    __slots__ = ("__dict__", "__weakref__", "_set")
    _set: set[str]

    @classmethod
    def _trusted(cls: type[_Self], values: dict[str, Any]) -> _Self:
        """Creates an instance from values that the library has already checked."""
        model = object.__new__(cls)
        model._fill(values, values)
        return model

    @property
    def model_fields_set(self) -> set[str]:
        """The names of the fields that were set explicitly."""
        return self._set

    @classmethod
    def model_validate(cls: type[_Self], obj: Any) -> _Self:
        """Creates an instance from a mapping or another instance, and checks every rule.

        Raises:
            InvalidParamsError: with every violation.
        """
        values = obj.__dict__ if isinstance(obj, Model) else obj
        checked = _dreamframe._check(cls._part, values)
        model = object.__new__(cls)
        model._fill(checked, typing.cast("Mapping[str, Any]", values) if isinstance(values, Mapping) else checked)
        if isinstance(obj, Model):
            object.__setattr__(model, "_set", {*obj._set})
        return model

    @classmethod
    def model_validate_json(cls: type[_Self], json_data: str | bytes | bytearray) -> _Self:
        """Creates an instance from JSON, and checks every rule.

        Raises:
            InvalidParamsError: with every violation, or with the position of a syntax error.
        """
        checked, given = _dreamframe._check_json(cls._part, json_data)
        model = object.__new__(cls)
        model._fill(checked, given)
        return model

    @classmethod
    def model_json_schema(cls) -> dict[str, Any]:
        """Returns the JSON Schema (draft 2020-12), with bounds, defaults and descriptions."""
        return _dreamframe._schema(cls._part)

    def model_dump(
        self,
        *,
        mode: Literal["python", "json"] = "python",
        include: Selection = None,
        exclude: Selection = None,
        by_alias: bool = False,
        exclude_unset: bool = False,
        exclude_defaults: bool = False,
        exclude_none: bool = False,
    ) -> dict[str, Any]:
        """Returns the values as a dict of plain data; with `mode="json"`, of JSON types (lists instead of tuples).

        `by_alias` has no effect: no field has an alias.
        """
        del by_alias
        without = _Without(mode == "json", exclude_unset, exclude_defaults, exclude_none)
        return _dump(self, include, exclude, without)

    def model_dump_json(
        self,
        *,
        indent: int | None = None,
        include: Selection = None,
        exclude: Selection = None,
        by_alias: bool = False,
        exclude_unset: bool = False,
        exclude_defaults: bool = False,
        exclude_none: bool = False,
    ) -> str:
        """Returns the values as JSON, on one line unless `indent` is given."""
        values = self.model_dump(
            mode="json",
            include=include,
            exclude=exclude,
            by_alias=by_alias,
            exclude_unset=exclude_unset,
            exclude_defaults=exclude_defaults,
            exclude_none=exclude_none,
        )
        separators = (",", ":") if indent is None else None
        return json.dumps(values, indent=indent, separators=separators, ensure_ascii=False)

    def model_copy(self: _Self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> _Self:
        """Returns a copy with changes applied as by `StreamDiffusion.update`, and checks every rule.

        Raises:
            InvalidParamsError: with every violation.
        """
        copied = copy.deepcopy(self) if deep else copy.copy(self)
        if update is not None:
            checked = _dreamframe._check(self._part, update, copied.__dict__)
            touched = copied._set | set(update)
            copied._fill(checked, {**copied.__dict__, **update})
            object.__setattr__(copied, "_set", touched)
        return copied

    def __setattr__(self, name: str, value: Any) -> None:
        field = _dreamframe._check_field(self._part, name, value)
        self.__dict__[name] = self._revivers[name](field, value)
        self._set.add(name)

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{name} cannot be deleted: every {type(self).__name__} has it")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(self.__dict__.items())

    def __copy__(self: _Self) -> _Self:
        other = object.__new__(type(self))
        other.__setstate__(({**self.__dict__}, {*self._set}))
        return other

    def __getstate__(self) -> tuple[dict[str, Any], set[str]]:
        return self.__dict__, self._set

    def __setstate__(self, state: tuple[dict[str, Any], set[str]]) -> None:
        values, touched = state
        object.__setattr__(self, "__dict__", values)
        object.__setattr__(self, "_set", touched)

    def __repr__(self) -> str:
        fields = self.model_fields
        shown = (
            f"{name}={value!r}" for name, value in self if fields[name].required or value != fields[name].default
        )
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclass(frozen=True, slots=True)
class _Without:
    """The fields that a dump excludes, and its mode."""

    json: bool
    unset: bool
    defaults: bool
    none: bool


def _dump(model: Model, include: Selection, exclude: Selection, without: _Without) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in model:
        if (
            _is_left_out(name, include, exclude)
            or (without.unset and name not in model.model_fields_set)
            or (without.none and value is None)
            or (without.defaults and _is_default(model, name, value))
        ):
            continue
        values[name] = _plain(value, _inside(include, name), _inside(exclude, name), without)
    return values


def _is_default(model: Model, name: str, value: Any) -> bool:
    field = model.model_fields[name]
    return not field.required and value == field.default


def _plain(value: Any, include: Selection, exclude: Selection, without: _Without) -> Any:
    if isinstance(value, Model):
        return _dump(value, include, exclude, without)
    if isinstance(value, dict):
        return {key: _plain(item, None, None, without) for key, item in typing.cast("dict[str, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        items = [
            _plain(item, _inside(include, place), _inside(exclude, place), without)
            for place, item in enumerate(typing.cast("list[Any]", value))
            if not _is_left_out(place, include, exclude)
        ]
        return tuple(items) if isinstance(value, tuple) and not without.json else items
    return value


def _entry(selection: Selection, key: str | int) -> Any:
    """Returns the part of a selection for `key`: False for nothing, True for everything, or a nested selection."""
    if selection is None:
        return False
    if isinstance(selection, Mapping):
        entries = typing.cast("Mapping[Any, Any]", selection)
        inside = entries.get(key, entries.get("__all__", False) if isinstance(key, int) else False)
        return True if inside is ... else inside
    return key in selection or (isinstance(key, int) and "__all__" in selection)


def _is_left_out(key: str | int, include: Selection, exclude: Selection) -> bool:
    return _entry(exclude, key) is True or (include is not None and _entry(include, key) is False)


def _inside(selection: Selection, key: str | int) -> Selection:
    entry = _entry(selection, key)
    return None if isinstance(entry, bool) else entry


def _take_by_name(cls: type[Model]) -> None:
    """Adds a constructor to `cls` whose signature lists the fields."""

    def construct(self: Model, /, *args: Any, **values: Any) -> None:
        if args:
            name, first = cls.__name__, next(iter(cls.model_fields))
            raise TypeError(f"{name} takes its fields by name: {name}({first}=...)")
        self._fill(_dreamframe._check(cls._part, values), values)

    parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    for name, field in cls.model_fields.items():
        default = inspect.Parameter.empty if field.required else field.default
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter(name, kind, default=default, annotation=field.annotation))
    construct.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    construct.__name__, construct.__qualname__ = "__init__", f"{cls.__qualname__}.__init__"
    cls.__init__ = construct  # type: ignore[assignment, method-assign]


def _reviver(annotation: Any) -> Callable[[Any, Any], Any]:
    """Returns a function that rebuilds a field's value from validated plain data and the value that was passed."""
    kind: Any = annotation
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return lambda value, given: _revived(kind, value, given)
    is_union = isinstance(annotation, types.UnionType)
    options: tuple[Any, ...] = typing.get_args(annotation) if is_union else (kind,)
    for option in options:
        if typing.get_origin(option) is not list:
            continue
        (item,) = typing.get_args(option)
        if isinstance(item, type) and issubclass(item, Model):
            return lambda value, given: _revived_list(item, value, given)
        if typing.get_origin(item) is tuple:
            return lambda value, _: _pairs(value)
    return lambda value, _: value


def _revived(kind: type[Model], value: Any, given: Any) -> Model:
    if isinstance(given, kind):
        return given
    model = object.__new__(kind)
    model._fill(value, typing.cast("Mapping[str, Any]", given) if isinstance(given, Mapping) else {})
    return model


def _revived_list(kind: type[Model], values: Any, given: Any) -> list[Model]:
    items = typing.cast("list[Any]", given) if isinstance(given, (list, tuple)) else [None] * len(values)
    return [_revived(kind, value, item) for value, item in zip(values, items, strict=True)]


def _pairs(value: Any) -> Any:
    return [tuple(pair) for pair in typing.cast("list[Any]", value)] if isinstance(value, list) else value
