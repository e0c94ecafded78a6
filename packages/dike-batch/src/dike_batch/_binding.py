"""Which arguments of a call are batched, which are passed through, and how a batch is passed to the function."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from inspect import Parameter
from typing import Any

# Where an argument of a call is: its index among the positional ones, or its keyword.
Marker = int | str

# A function that takes any keywords can be called in any number of ways; a forgotten one only costs time.
REMEMBERED = 256


class Form:
    """A way to pass arguments: so many by position, and the rest by these names.

    Whether a call fits the signature, and where each of its arguments is, depends on nothing else.

    Attributes:
        pattern: The number of positional arguments and the names of the keywords.
        error: Why such calls do not fit the signature; `None` if they do.
        instance: Where ``self`` or ``cls`` is; `None` if there is none.
        groups: Where the arguments named by `group_by` are; those that were not passed are not there.
        names: The names of the batched arguments, in the order of the signature.
        markers: Where they are.
        others: Where the arguments are that are passed through: the instance, and those of the groups.
        single: The index of the only batched argument, if there is one and it is positional.
        is_simple: Whether that is all there is.
    """

    __slots__ = ("error", "groups", "instance", "is_simple", "markers", "names", "others", "pattern", "single")

    def __init__(self, binding: Binding, count: int, keywords: frozenset[str]) -> None:
        self.pattern = (count, keywords)
        self.error: str | None = None
        self.names: list[str] = []
        self.markers: list[Marker] = []
        found: dict[str, Any] = {name: name for name in keywords}
        try:
            found = binding.signature.bind(*range(count), **found).arguments
        except TypeError as error:
            self.error = str(error)
            found.update(zip(binding.positional, range(count), strict=False))
        else:
            for name, marker in found.items():
                kind = binding.signature.parameters[name].kind
                if kind is Parameter.VAR_POSITIONAL:
                    self.names += [f"{name}[{i}]" for i in range(len(marker))]
                    self.markers += marker
                elif kind is Parameter.VAR_KEYWORD:
                    self.names += sorted(marker)
                    self.markers += sorted(marker)
                elif name != binding.instance and name not in binding.group_by:
                    self.names.append(name)
                    self.markers.append(marker)
        self.instance: Marker | None = found.get(binding.instance) if binding.instance else None
        self.groups: dict[str, Marker] = {name: found[name] for name in binding.group_by if name in found}
        self.single: int | None = None
        if len(self.markers) == 1 and isinstance(self.markers[0], int):
            self.single = self.markers[0]
        self.others = list(self.groups.values()) if self.instance is None else [self.instance, *self.groups.values()]
        self.is_simple = self.single is not None and count == 1 and not keywords and not binding.group_by

    @staticmethod
    def get(marker: Marker, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Return the argument at `marker`."""
        return args[marker] if isinstance(marker, int) else kwargs[marker]

    def arguments(self, values: list[Any], others: Mapping[Marker, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Return the positional and the keyword arguments of a call with these batched and these other arguments."""
        if self.is_simple:
            return values, {}
        count, keywords = self.pattern
        by_marker = {**dict(zip(self.markers, values, strict=True)), **others}
        return [by_marker[index] for index in range(count)], {name: by_marker[name] for name in keywords}


class Binding:
    """How calls of a function are bound to its parameters.

    Args:
        func: The function.
        name: Its name, for the text of exceptions.
        group_by: The parameters that are not batched.

    Raises:
        ValueError: `group_by` names something that is not a parameter, or not one that takes one argument.
    """

    def __init__(self, func: Any, name: str, group_by: tuple[str, ...]) -> None:
        self.signature = inspect.signature(func)
        parameters = list(self.signature.parameters.values())
        self.positional = [
            p.name for p in parameters if p.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
        ]
        self.instance = self.positional[0] if self.positional[:1] in (["self"], ["cls"]) else None
        self.group_by = group_by
        single = [p.name for p in parameters if p.kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)]
        for each in group_by:
            if each not in single or each == self.instance:
                raise ValueError(f"group_by must name parameters of {name}(), but got {each!r}")
        self.has_optional = any(
            p.default is not Parameter.empty or p.name not in single for p in parameters if p.name not in group_by
        )
        self.forms: dict[Any, Form] = {}

    def form(self, count: int, keywords: Iterable[str]) -> Form:
        """Return the form of a call with `count` positional arguments and these keywords."""
        # Most calls come in one order of keywords, which is quicker to look up than the set of them.
        key = (count, *keywords) if keywords else count
        form = self.forms.get(key)
        if form is None:
            form = Form(self, count, frozenset(keywords))
            if form.error is None and len(self.forms) < REMEMBERED:
                self.forms[key] = form
        return form

    def has_group(self, form: Form) -> bool:
        """Whether calls of this form say to which group they belong."""
        return all(
            name in form.groups or self.signature.parameters[name].default is not Parameter.empty
            for name in self.group_by
        )

    def group(self, form: Form, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return the values of the `group_by` arguments of a call, or what stands for them by default.

        Raises:
            TypeError: One of them is not hashable.
        """
        values: list[Any] = []
        for name in self.group_by:
            if name in form.groups:
                value = form.get(form.groups[name], args, kwargs)
            else:
                value = self.signature.parameters[name].default
            try:
                hash(value)
            except TypeError:
                raise TypeError(f"{name} must be hashable, since calls are grouped by it, but got {value!r}") from None
            values.append(value)
        return tuple(values)
