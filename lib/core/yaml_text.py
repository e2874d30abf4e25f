"""Yaml texts, read within bounds: a file that is broken, endless or no yaml ends in one sentence, never in a crash."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import yaml
from yaml.constructor import ConstructorError
from yaml.error import MarkedYAMLError, YAMLError
from yaml.reader import ReaderError

from fpt.utils.errors import UserError

_LOGGER = logging.getLogger("fpt")

MAX_BYTES = 256 * 1024
"""Largest file; the parser takes about a second for so much. Files of configurations have a few thousand bytes."""
MAX_DEPTH = 20
"""Levels of groups and sequences inside one another, aliases followed."""
MAX_NODES = 6_000
"""Keys and values, each alias counted as what it repeats."""

MAX_KEY = 120
"""Characters of a key."""

_TAG = "tag:yaml.org,2002:"
_TUPLE = _TAG + "python/tuple"
_TAGS = frozenset([*(_TAG + name for name in ("null", "bool", "int", "float", "str", "seq", "map", "merge")), _TUPLE])
_BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


class YamlTextError(UserError):
    """A text that is not yaml, or that goes beyond the bounds."""


class Leaf(NamedTuple):
    """One value of a yaml text.

    Attributes:
        key: full dotted key, as written.
        value: text, number, bool, None, list, tuple or dict; an empty group is an empty dict.
        line: line of the key, from 1.
    """

    key: str
    value: Any
    line: int


class _Loader(yaml.SafeLoader):
    """Yaml's safe loader within bounds. Dates and keys are text, and what Python cannot read has a line."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _TAG + "timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._num_nodes = 0
        self._sizes: dict[yaml.Node, tuple[int, int]] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """The next node; its size and height, aliases followed, are within bounds."""
        mark = self.peek_event().start_mark
        self._depth += 1
        self._num_nodes += 1
        self._check_bounds(self._num_nodes, self._depth, mark)
        is_alias = self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is None:
            return None
        if is_alias:
            if node not in self._sizes:
                _fail("an alias stands inside what it names", mark)
        else:
            self._sizes[node] = self._measure(node)
        nodes, height = self._sizes[node]
        self._check_bounds(nodes, self._depth + height, mark)
        return node

    def _check_bounds(self, nodes: int, depth: int, mark: yaml.Mark) -> None:
        if nodes > MAX_NODES:
            _fail(f"more than {MAX_NODES} keys and values, aliases followed", mark)
        if depth > MAX_DEPTH:
            _fail(f"more than {MAX_DEPTH} levels inside one another, aliases followed", mark)

    def _measure(self, node: yaml.Node) -> tuple[int, int]:
        children: list[yaml.Node] = []
        if isinstance(node, yaml.SequenceNode):
            children = node.value
        elif isinstance(node, yaml.MappingNode):
            children = [child for pair in node.value for child in pair]
        sizes = [self._sizes[child] for child in children]
        return 1 + sum(nodes for nodes, _ in sizes), 1 + max((height for _, height in sizes), default=0)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """As yaml's, but of plain types only, and with the line where a number cannot be read."""
        if node.tag not in _TAGS:
            _fail(f"the tag {node.tag.replace(_TAG, '!!')} is not known here", node.start_mark)
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            text = str(node.value)
            shown = text if len(text) <= 20 else f"{text[:20]}... ({len(text)} characters)"
            _fail(f"{shown} cannot be read as {node.tag.replace(_TAG, '')}", node.start_mark)

    def construct_python_tuple(self, node: yaml.SequenceNode) -> tuple[Any, ...]:
        """A tuple, as Python programs write it."""
        return tuple(self.construct_sequence(node, deep=True))

    def leaves(self, node: yaml.MappingNode, prefix: str = "") -> Iterator[Leaf]:
        """The values of a tree; of a key that stands twice in a group, which is logged, the last one counts."""
        self._log_repeated(node)
        self.flatten_mapping(node)
        for name, (key, value) in {self._key(key): (key, value) for key, value in node.value}.items():
            if isinstance(value, yaml.MappingNode) and value.value:
                yield from self.leaves(value, f"{prefix}{name}.")
            else:
                yield Leaf(prefix + name, self.construct_object(value, deep=True), key.start_mark.line + 1)

    def _key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            _fail("a key is a word, not a group or a sequence", node.start_mark)
        name = str(node.value)
        if len(name) > MAX_KEY or not name.isprintable():
            _fail(f"a key is a word of at most {MAX_KEY} printable characters", node.start_mark)
        return name

    def _log_repeated(self, node: yaml.MappingNode) -> None:
        lines: dict[str, list[int]] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != _TAG + "merge":
                lines.setdefault(key.value, []).append(key.start_mark.line + 1)
        for name, found in lines.items():
            if len(found) > 1:
                place = f"{self.name}, line {found[-1]}"
                _LOGGER.warning("%s (in %s): stands twice in its group; the last one counts", name, place)


_Loader.add_constructor(_TUPLE, _Loader.construct_python_tuple)


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 with a byte order mark.

    Raises:
        YamlTextError: it cannot be read, is no text, or is larger than any configuration.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise YamlTextError(f"config file {path} cannot be read: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise YamlTextError(f"config file {path} is larger than {MAX_BYTES // 1024} kB: no file of options is")
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise YamlTextError(
            f"config file {path} is not valid yaml: line {line}: byte {data[error.start]:#04x} is no "
            f"{encoding.upper()}; save it as UTF-8"
        ) from None


def read_leaves(text: str, *, source: str) -> list[Leaf]:
    """The values of a yaml text that is a tree of keys.

    Raises:
        YamlTextError: it is not yaml, goes beyond the bounds, or is no such tree.
    """
    if len(text) > MAX_BYTES:
        raise YamlTextError(f"{source} is longer than {MAX_BYTES // 1024} kB: no text of options is")
    try:
        loader = _Loader(text)
        loader.name = source
        root = loader.get_single_node()
        if isinstance(root, yaml.MappingNode):
            return list(loader.leaves(root))
        value = None if root is None else loader.construct_object(root, deep=True)
    except YAMLError as error:
        raise YamlTextError(f"config file {source} is not valid yaml: {_explain(error, text)}") from None
    if value is None:
        return []
    raise YamlTextError(f"config file {source} must hold KEY: VALUE pairs, but it holds a {type(value).__name__}")


def read_value(text: str) -> Any:
    """The value of a text in yaml's flow style, such as ``{a: [b, c]}``.

    Raises:
        YamlTextError: it is not yaml, or goes beyond the bounds.
    """
    if len(text) > MAX_BYTES:
        raise YamlTextError(f"is longer than {MAX_BYTES // 1024} kB: no value is")
    try:
        return _Loader(text).get_single_data()
    except YAMLError as error:
        raise YamlTextError(f"is not valid yaml: {_explain(error, text)}") from None


def _explain(error: YAMLError, text: str) -> str:
    """One sentence about what is wrong, with the line."""
    line, problem = 1, " ".join(str(error).split())
    if isinstance(error, ReaderError):
        line = text.count("\n", 0, error.position) + 1
        problem = f"the character {error.character:#06x} is not allowed in yaml; save the file as UTF-8 text"
    elif isinstance(error, MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        line = line if mark is None else mark.line + 1
        problem = " ".join(part for part in (error.context, error.problem) if part)
        if "'\\t'" in problem:
            problem += " (yaml is indented with spaces, not with tabs)"
    return f"line {line}: {problem}"


def _fail(problem: str, mark: yaml.Mark) -> NoReturn:
    raise ConstructorError(None, None, problem, mark)
