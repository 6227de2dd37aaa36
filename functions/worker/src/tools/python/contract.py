"""What playbook code may rely on: its names, its `main`, its `return`, and what a result may be.

The first half of one program; `runner.py` is the other.
"""

import ast
import base64
import datetime
import importlib
import json
import linecache
import math
import os
import signal
import struct
import sys
import traceback
import types
import uuid

MISSING = object()
MODULE = "__playbook__"
COMPILED_MAX = 64
TEXT_MAX = 1 << 16


# --- what the code may use -------------------------------------------------------------------


def get_val(source, path, default=None):
    """Walks a dotted path through dicts and lists."""
    for key in str(path).split("."):
        if isinstance(source, dict) and key in source:
            source = source[key]
        elif isinstance(source, (list, tuple)) and key.lstrip("-").isdigit():
            index = int(key)
            if not -len(source) <= index < len(source):
                return default
            source = source[index]
        else:
            return default
    return source


def deep_merge(base, over):
    """Merges dicts recursively into a new one; everything else is replaced."""
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    merged = dict(base)
    for key, value in over.items():
        merged[key] = deep_merge(merged[key], value) if key in merged else value
    return merged


def now_utc():
    return datetime.datetime.now(datetime.timezone.utc)


def format_iso8601(moment=None):
    return (moment if moment is not None else now_utc()).isoformat()


class NotJson(TypeError):
    """A value that JSON cannot hold."""


def make_serializable(value, path="result", depth=0):
    """The value as JSON can hold it; anything else is an error that names its place."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if depth > 100:
        raise NotJson(f"`{path[:200]}` is nested more than 100 levels deep, or contains itself")
    if isinstance(value, dict):
        return {
            json_key(key, path): make_serializable(item, f"{path}.{key}", depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [make_serializable(item, f"{path}[{n}]", depth + 1) for n, item in enumerate(value)]
    if isinstance(value, (set, frozenset)):
        try:
            items = sorted(value)
        except TypeError:
            items = list(value)
        return make_serializable(items, path, depth)
    return scalar(value, path)


def scalar(value, path):
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    name = type(value).__name__
    if name == "Decimal" and type(value).__module__ == "decimal":
        if not value.is_finite():
            return None
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise NotJson(
            f"`{path}` is {name}, which JSON cannot hold; return text, "
            f"for example `base64.b64encode(value).decode()`"
        )
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "__fspath__"):
        return os.fspath(value)
    if hasattr(value, "value") and hasattr(type(value), "__members__"):
        return make_serializable(value.value, path)
    raise NotJson(
        f"`{path}` is a `{name}`, which JSON cannot hold; return dicts, lists, text, numbers, "
        f"booleans or None"
    )


def json_key(key, path):
    if isinstance(key, str):
        return key
    if key is None or isinstance(key, bool):
        return json.dumps(key)
    if isinstance(key, (int, float)):
        return str(key)
    if isinstance(key, (datetime.date, uuid.UUID)):
        return str(key)
    raise NotJson(f"a key of `{path}` is a `{type(key).__name__}`; keys of a result are text")


# --- compiling -------------------------------------------------------------------------------


class Returns(ast.NodeVisitor):
    """Whether a `return` stands outside of every function."""

    found = False

    def visit_Return(self, node):
        self.found = True

    def skip(self, node):
        pass

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = visit_ClassDef = skip


class Names(ast.NodeVisitor):
    """The names that module code binds: they stay global when it becomes a function."""

    def __init__(self):
        self.bound = set()
        self.inside = 0

    def visit_Name(self, node):
        if isinstance(node.ctx, (ast.Store, ast.Del)) and not self.inside:
            self.bound.add(node.id)

    def visit_NamedExpr(self, node):
        # Inside a comprehension it binds in the scope around it.
        self.bound.add(node.target.id)
        self.visit(node.value)

    def comprehension(self, node):
        self.inside += 1
        self.generic_visit(node)
        self.inside -= 1

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = comprehension

    def definition(self, node):
        self.bound.add(node.name)

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = definition

    def visit_Lambda(self, node):
        pass

    def imports(self, node):
        for alias in node.names:
            if alias.name != "*":
                self.bound.add(alias.asname or alias.name.split(".")[0])

    visit_Import = visit_ImportFrom = imports

    def visit_ExceptHandler(self, node):
        if node.name:
            self.bound.add(node.name)
        self.generic_visit(node)

    def capture(self, node):
        name = getattr(node, "name", None) or getattr(node, "rest", None)
        if name:
            self.bound.add(name)
        self.generic_visit(node)

    visit_MatchAs = visit_MatchStar = visit_MatchMapping = capture

    def visit_Global(self, node):
        self.bound.update(node.names)


class Inner(ast.NodeTransformer):
    """Statements that a function does not allow for its global names."""

    def visit_Global(self, node):
        return ast.copy_location(ast.Pass(), node)

    def visit_AnnAssign(self, node):
        if not isinstance(node.target, ast.Name):
            return node
        if node.value is None:
            return ast.copy_location(ast.Pass(), node)
        assign = ast.Assign(targets=[node.target], value=node.value)
        return ast.copy_location(assign, node)

    def skip(self, node):
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = visit_ClassDef = skip


def stays_outside(node):
    """Imports that only a module may have."""
    return isinstance(node, ast.ImportFrom) and (
        node.module == "__future__" or any(alias.name == "*" for alias in node.names)
    )


def as_function(tree):
    """Makes module code with a top-level `return` a function, with the same names and lines."""
    names = Names()
    for node in tree.body:
        names.visit(node)
    outside = [node for node in tree.body if stays_outside(node)]
    inside = [Inner().visit(node) for node in tree.body if not stays_outside(node)]
    end = ast.Return(value=ast.Name(id="__end__", ctx=ast.Load()))
    head = [ast.Global(names=sorted(names.bound))] if names.bound else []
    function = ast.parse("def __body__():\n    pass").body[0]
    function.body = head + inside + [end]
    tree.body = outside + [function]
    return ast.fix_missing_locations(tree)


def compiled(source, filename, cache={}):
    key = (filename, source)
    if key not in cache:
        tree = ast.parse(source, filename)
        returns = Returns()
        returns.visit(tree)
        if returns.found:
            tree = as_function(tree)
        if len(cache) >= COMPILED_MAX:
            cache.clear()
        cache[key] = (compile(tree, filename, "exec", dont_inherit=True), returns.found)
    return cache[key]


# --- one call --------------------------------------------------------------------------------


class Refused(Exception):
    """The call cannot be made as the playbook has it."""


def parsed(value):
    """Text that looks like a list or a map becomes one; all other text stays text."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if not text or (text[0], text[-1]) not in (("{", "}"), ("[", "]")):
        return value
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value


def imported(libs):
    found = {}
    for alias, spec in libs.items():
        if isinstance(spec, dict):
            module, attribute = spec.get("from") or spec.get("module"), spec.get("import")
            if not module:
                module, attribute = attribute, None
        else:
            module, attribute = spec or alias, None
        if not isinstance(module, str) or not module:
            raise Refused(f"`libs.{alias}` is a module name or `{{from, import}}`, not `{spec}`")
        try:
            value = importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise Refused(
                f"`libs.{alias}` needs the module `{error.name}`, and {sys.executable} does not "
                f"have it; install it there (`{sys.executable} -m pip install {error.name}`)"
            ) from None
        if attribute:
            try:
                value = getattr(value, attribute)
            except AttributeError:
                try:
                    value = importlib.import_module(f"{module}.{attribute}")
                except ModuleNotFoundError:
                    raise Refused(f"`libs.{alias}`: `{module}` has no `{attribute}`") from None
        found[alias] = value
    return found


def namespace(request, args, context):
    module = types.ModuleType(MODULE)
    sys.modules[MODULE] = module
    names = module.__dict__
    names.update(
        context=context,
        os=os,
        json=json,
        datetime=datetime,
        uuid=uuid,
        get_val=get_val,
        make_serializable=make_serializable,
        now_utc=now_utc,
        format_iso8601=format_iso8601,
        deep_merge=deep_merge,
        execution_id=request["execution_id"],
        input_data=args,
        args=args,
        __end__=MISSING,
    )
    for key in ("data", "result"):
        if "data" not in args and "data" not in names and key in context:
            names["data"] = context[key]
    names.update(imported(request.get("libs") or {}))
    names.update(args)
    return names


def bind(main, args, context):
    """The arguments for `main`: by name from args, then from the context."""
    import inspect

    kinds = inspect.Parameter
    try:
        parameters = list(inspect.signature(main).parameters.values())
    except (TypeError, ValueError):
        return [], {}
    positional, keywords, missing, rest = [], {}, [], False
    for parameter in parameters:
        if parameter.kind is kinds.VAR_POSITIONAL:
            raise Refused("`main` has `*args`, and inputs have names; use parameters or `**kwargs`")
        if parameter.kind is kinds.VAR_KEYWORD:
            rest = True
            continue
        value = looked_up(parameter.name, args, context)
        if value is MISSING and parameter.default is kinds.empty:
            missing.append(parameter.name)
        elif value is MISSING and parameter.kind is kinds.POSITIONAL_ONLY:
            positional.append(parameter.default)
        elif value is not MISSING and parameter.kind is kinds.POSITIONAL_ONLY:
            positional.append(value)
        elif value is not MISSING:
            keywords[parameter.name] = value
    only = parameters[0] if len(parameters) == 1 else None
    if missing and only is not None and only.kind is not kinds.KEYWORD_ONLY:
        return [args], {}
    if missing:
        listed = ", ".join(f"`{name}`" for name in missing)
        given = ", ".join(f"`{name}`" for name in args) or "none"
        raise Refused(f"`main` needs {listed}; the step's args are {given}. Add them under `args`")
    if rest:
        named = {parameter.name for parameter in parameters}
        keywords.update((name, value) for name, value in args.items() if name not in named)
    return positional, keywords


def looked_up(name, args, context):
    if name in args:
        return args[name]
    if name == "context":
        return context
    for inner in (context.get("input"), context.get("data")):
        if isinstance(inner, dict) and name in inner:
            return inner[name]
    return context.get(name, MISSING)


def awaited(value):
    if not hasattr(value, "__await__"):
        return value
    import asyncio

    async def wait():
        return await value

    return asyncio.run(wait())


def run(request, filename):
    args = {name: parsed(value) for name, value in request["args"].items()}
    context = request.get("context") or {}
    names = namespace(request, args, context)
    before = dict(names)
    code, returns = compiled(request["code"], filename)
    exec(code, names)
    if returns:
        value = names["__body__"]()
        if value is not MISSING:
            return awaited(value)
    main = names.get("main")
    if callable(main) and main is not before.get("main", MISSING):
        positional, keywords = bind(main, args, context)
        return awaited(main(*positional, **keywords))
    result = names.get("result", MISSING)
    if result is not before.get("result", MISSING):
        return awaited(result)
    own = [
        name
        for name, value in names.items()
        if not name.startswith("__") and value is not before.get(name, MISSING)
    ]
    return {
        "status": "success",
        "message": "the code ran; it has no `main` and set no `result`",
        "locals_count": len(own),
        "locals_keys": own,
    }


def encoded(value):
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = json.dumps(make_serializable(value), allow_nan=False, ensure_ascii=False)
    return text.encode("utf-8", "replace")


def said(error):
    try:
        return str(error)
    except BaseException:
        return "(its message cannot be shown)"


def failure(error, filename):
    """What rules and people see of an exception: only the playbook's own lines."""
    kind, message = type(error).__name__, said(error)
    if isinstance(error, Refused):
        return {"kind": "InputError", "message": clean(message), "traceback": ""}
    if isinstance(error, NotJson):
        return {"kind": "ResultError", "message": clean(message), "traceback": ""}
    if isinstance(error, SystemExit):
        message = f"the code called `exit` ({message}); let it end, or raise an exception to fail"
    elif isinstance(error, MemoryError):
        message = message or "the code needs more memory than it may use; work on smaller pieces"
    elif isinstance(error, KeyboardInterrupt):
        message = message or "the code interrupted itself"
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == filename]
    lines = traceback.format_list(own)
    if isinstance(error, SyntaxError):
        lines += traceback.format_exception_only(type(error), error)
    return {"kind": kind, "message": clean(message or kind), "traceback": clean("".join(lines))}


def clean(text):
    """Text that every JSON reader takes, and no more of it than anyone reads."""
    return text[:TEXT_MAX].encode("utf-8", "replace").decode()
