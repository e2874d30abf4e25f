"""Names of parameters in two programs: tables of pairs of patterns, which are read in both directions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Words = Mapping[str, str]
"""The words that a placeholder may be, ours -> theirs."""

_PLACEHOLDER = re.compile(r"\{(\w+)([+-]\d+)?\}")


@dataclass(frozen=True)
class Rule:
    """One pair of patterns.

    ``{i}`` stands for a number and ``{i-1}`` for that number less one; another placeholder stands for one of its words.

    Attributes:
        ours: pattern of the names here.
        theirs: pattern of the names there.
        value: how the values differ, by name of a transform; empty = not at all.
    """

    ours: str
    theirs: str
    value: str = ""


class Renaming:
    """A table of rules.

    Args:
        rules: the first one that matches counts.
        words: the placeholders that are no numbers.
    """

    def __init__(self, rules: Sequence[Rule], words: Mapping[str, Words]) -> None:
        self.words = words
        self._rules = [(self._compile(rule.ours, 0), self._compile(rule.theirs, 1), rule) for rule in rules]

    def to_ours(self, name: str) -> tuple[str, str] | None:
        """Our name of one of theirs and the transform of its value; None where there is none."""
        for _, pattern, rule in self._rules:
            match = pattern.fullmatch(name)
            if match:
                return self._fill(rule.ours, match, rule.theirs, 1), rule.value
        return None

    def to_theirs(self, name: str) -> tuple[str, str] | None:
        """Their name of one of ours and the transform of its value; None where there is none."""
        for pattern, _, rule in self._rules:
            match = pattern.fullmatch(name)
            if match:
                return self._fill(rule.theirs, match, rule.ours, 0), rule.value
        return None

    def _compile(self, text: str, side: int) -> re.Pattern[str]:
        pieces, position, seen = [], 0, set()
        for match in _PLACEHOLDER.finditer(text):
            pieces.append(re.escape(text[position : match.start()]))
            key = match[1]
            if key in seen:
                pieces.append(f"(?P={key})")
            elif key in self.words:
                choices = self.words[key].values() if side else self.words[key].keys()
                pieces.append(f"(?P<{key}>{'|'.join(re.escape(choice) for choice in choices)})")
            else:
                pieces.append(rf"(?P<{key}>\d{{1,4}})")
            seen.add(key)
            position = match.end()
        return re.compile("".join(pieces) + re.escape(text[position:]))

    def _fill(self, template: str, match: re.Match[str], source: str, side: int) -> str:
        offsets = {key: int(offset or 0) for key, offset in _PLACEHOLDER.findall(source)}

        def value(placeholder: re.Match[str]) -> str:
            key, offset = placeholder[1], int(placeholder[2] or 0)
            if key in self.words:
                words = self.words[key]
                return {theirs: ours for ours, theirs in words.items()}[match[key]] if side else words[match[key]]
            return str(int(match[key]) - offsets[key] + offset)

        return _PLACEHOLDER.sub(value, template)
