"""What a `_target_` takes, read from its source file without importing it.

Importing torch costs seconds; a mistyped key should cost none. Modules of snnrepro and torch.optim are read so; to find
those of a class that the user trusts, the packages around it are imported.
"""

import ast
import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

from snnrepro import types
from snnrepro.errors import UserError, first_line


class Parameter(NamedTuple):
    """A parameter that a config may set: its annotation as an expression, and whether it must be set."""

    annotation: ast.expr | None
    required: bool


@lru_cache
def parameters(target: str, trusted: bool = False) -> dict[str, Parameter]:
    """The parameters of `package.module.Name` that a config sets.

    In snnrepro these are the keyword-only ones; what comes before them the program supplies; `**name` hands on those of
    the base class. In torch.optim, all but the first (the parameters to optimise). A trusted class is read in the first
    way where it has keyword-only parameters, else in the second.
    Raises UserError where there is no such class or function.
    """
    module, _, name = target.rpartition(".")
    tree = _module(module, target, trusted)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return _of(node.args, ours=_is_ours(module, node.args, trusted), skip=1)
        if isinstance(node, ast.ClassDef) and node.name == name:
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and inner.name == "__init__":
                    own = _of(inner.args, ours=_is_ours(module, inner.args, trusted), skip=2)
                    return own if inner.args.kwarg is None else _inherited(tree, node, module, trusted) | own
            return _inherited(tree, node, module, trusted)
    raise UserError(f"_target_ {target}: {module} defines no {name}")


def _is_ours(module: str, args: ast.arguments, trusted: bool) -> bool:
    return module.startswith("snnrepro.") or (trusted and bool(args.kwonlyargs))


def _inherited(tree: ast.Module, node: ast.ClassDef, module: str, trusted: bool) -> dict[str, Parameter]:
    """What the first base class takes, where it stands in this module or is imported from snnrepro by name; of a
    trusted class, from anywhere by a full name.
    """
    base = node.bases[0].id if node.bases and isinstance(node.bases[0], ast.Name) else None
    if base in [other.name for other in tree.body if isinstance(other, ast.ClassDef) and other is not node]:
        return parameters(f"{module}.{base}", trusted)
    for line in (line for line in tree.body if isinstance(line, ast.ImportFrom)):
        known = trusted or (line.module or "").startswith("snnrepro.")
        if line.level == 0 and known and base in [alias.name for alias in line.names]:
            return parameters(f"{line.module}.{base}", trusted)
    return {}


def _module(module: str, target: str, trusted: bool) -> ast.Module:
    file = _trusted_file(module, target) if trusted else _file(module, target)
    if file is None or not file.is_file():
        raise UserError(f"_target_ {target}: there is no module {module}")
    try:
        return ast.parse(file.read_text())
    except (OSError, ValueError, SyntaxError, RecursionError) as error:
        raise UserError(f"_target_ {target}: {file} cannot be read ({first_line(error)})") from None


def _file(module: str, target: str) -> Path | None:
    """Where a module of the project lies, found without importing anything."""
    package, *rest = module.split(".")
    spec = importlib.util.find_spec(package) if package in ("snnrepro", "torch") else None
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"_target_ {target}: not a class of this project")
    return Path(spec.submodule_search_locations[0]).joinpath(*rest).with_suffix(".py")


def _trusted_file(module: str, target: str) -> Path | None:
    """Where a module lies, found by importing the packages around it."""
    try:
        spec = importlib.util.find_spec(module)
    except Exception as error:  # whatever the code of those packages raises
        raise UserError(f"_target_ {target}: {module} cannot be imported ({first_line(error)})") from None
    return Path(spec.origin) if spec is not None and spec.origin is not None else None


def _of(args: ast.arguments, *, ours: bool, skip: int) -> dict[str, Parameter]:
    found = {
        arg.arg: Parameter(arg.annotation, default is None)
        for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True)
    }
    if not ours:
        positional = (args.posonlyargs + args.args)[skip:]
        first_default = len(positional) - len(args.defaults)
        found |= {arg.arg: Parameter(arg.annotation, i < first_default) for i, arg in enumerate(positional)}
    return found


_RANGES: dict[str, tuple[tuple[type, ...], str, Any]] = {
    "int": ((int,), "a whole number", lambda v: True),
    "float": ((int, float), "a number", lambda v: True),
    "str": ((str,), "a text", lambda v: True),
    "bool": ((bool,), "true or false", lambda v: True),
    "PositiveInt": ((int,), "a whole number above 0", lambda v: v > 0),
    "NonNegativeInt": ((int,), "a whole number, 0 or above", lambda v: v >= 0),
    "PositiveFloat": ((int, float), "a number above 0", lambda v: v > 0),
    "NonNegativeFloat": ((int, float), "a number, 0 or above", lambda v: v >= 0),
    "AtLeastOne": ((int, float), "a number, 1 or above", lambda v: v >= 1),
    "AboveOne": ((int, float), "a number above 1", lambda v: v > 1),
    "Fraction": ((int, float), "a number from 0 to 1", lambda v: 0 <= v <= 1),
}


def complaint(annotation: ast.expr | None, value: Any) -> str | None:
    """What an annotation wants where `value` is not it, else None. Annotations not known here accept anything."""
    wanted = [_wanted(part, value) for part in _alternatives(annotation)]
    if not wanted or None in wanted:
        return None
    return " or ".join(word for word in wanted if word)


def _alternatives(annotation: ast.expr | None) -> list[ast.expr]:
    if annotation is None:
        return []
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        return _alternatives(annotation.left) + _alternatives(annotation.right)
    return [annotation]


def _wanted(annotation: ast.expr, value: Any) -> str | None:
    """None where the value is fine, else a description of what is wanted."""
    if isinstance(annotation, ast.Constant) and annotation.value is None:
        return None if value is None else "null"
    if isinstance(annotation, ast.Name) and annotation.id in _RANGES:
        kinds, text, inside = _RANGES[annotation.id]
        right_type = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
        return None if right_type and inside(value) else text
    if isinstance(annotation, ast.Name) and get_origin(getattr(types, annotation.id, None)) is Literal:
        return _one_of(get_args(getattr(types, annotation.id)), value)
    if isinstance(annotation, ast.Name) and annotation.id in _SPECIAL:
        special: str | None = _SPECIAL[annotation.id](value)
        return special
    if isinstance(annotation, ast.Subscript) and isinstance(annotation.value, ast.Name):
        if annotation.value.id == "Literal":
            choices = ast.literal_eval(annotation.slice)
            return _one_of(choices if isinstance(choices, tuple) else (choices,), value)
        if annotation.value.id == "Sequence":
            return _sequence(annotation.slice, value)
    return None


def _sequence(element: ast.expr, value: Any) -> str | None:
    kind = element.id if isinstance(element, ast.Name) else ""
    texts = {
        "int": "whole numbers",
        "PositiveInt": "whole numbers above 0",
        "float": "numbers",
        "PositiveFloat": "numbers above 0",
        "str": "texts",
    }
    fine = isinstance(value, list) and all(complaint(element, item) is None for item in value)
    return None if fine else f"a list of {texts.get(kind, 'values')}"


def _one_of(choices: tuple[Any, ...], value: Any) -> str | None:
    return None if value in choices else f"one of {', '.join(map(str, choices))}"


def _surrogate(value: Any) -> str | None:
    """A surrogate's name, or a mapping of name, alpha and learnable (snnrepro.neurons.surrogate.SurrogateSpec)."""
    if not isinstance(value, dict):
        return _one_of(get_args(types.SurrogateName), value)
    if unknown := set(value) - {"name", "alpha", "learnable"}:
        return f"a mapping of name, alpha and learnable, without {', '.join(sorted(map(str, unknown)))}"
    if (name := _one_of(get_args(types.SurrogateName), value.get("name", "atan"))) is not None:
        return f"a mapping with name {name}"
    alpha, learnable = value.get("alpha"), value.get("learnable", False)
    if alpha is not None and (isinstance(alpha, bool) or not isinstance(alpha, int | float) or alpha <= 0):
        return "a mapping with alpha above 0"
    return None if isinstance(learnable, bool) else "a mapping with learnable true or false"


_SPECIAL: dict[str, Any] = {
    "SurrogateSpec": _surrogate,
    "Tensor": lambda value: "",  # no config value is a tensor
}
