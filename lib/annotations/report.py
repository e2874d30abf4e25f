"""What is wrong with a data set, all of it at once, and what is done about each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

MAX_EXAMPLES = 5


@dataclass
class Finding:
    """One kind of fault.

    Attributes:
        kind: what is found.
        action: what is done about it.
        is_fatal: whether the data set cannot be used like this.
        is_harmless: whether nothing is lost by it: it is read as it was meant.
        count: how often.
        examples: the first few, by name or id.
    """

    kind: str
    action: str
    is_fatal: bool
    is_harmless: bool = False
    count: int = 0
    examples: list[str] = field(default_factory=list)

    def line(self) -> str:
        """The fault as one line of text."""
        examples = ", ".join(self.examples)
        more = f" and {self.count - len(self.examples)} more" if self.count > len(self.examples) else ""
        return f"{'ERROR' if self.is_fatal else 'note '} {self.count} x {self.kind}: {self.action} [{examples}{more}]"


@dataclass
class DatasetReport:
    """All faults of one annotation file and its images.

    Attributes:
        source: the annotation file.
        num_images: images in it.
        num_annotations: annotations in it, before any was dropped.
        num_empty_images: images without a single object.
        findings: the faults.
    """

    source: str
    num_images: int = 0
    num_annotations: int = 0
    num_empty_images: int = 0
    findings: list[Finding] = field(default_factory=list)

    def add(
        self,
        kind: str,
        action: str,
        example: str,
        *,
        is_fatal: bool = False,
        is_harmless: bool = False,
        count: int = 1,
    ) -> None:
        """Count one more fault of a kind; only the first few examples are kept."""
        for finding in self.findings:
            if (finding.kind, finding.is_fatal) == (kind, is_fatal):
                break
        else:
            finding = Finding(kind, action, is_fatal, is_harmless)
            self.findings.append(finding)
        finding.count += count
        if len(finding.examples) < MAX_EXAMPLES and example:
            finding.examples.append(example)

    def add_all(
        self, kind: str, action: str, examples: Sequence[str], *, is_fatal: bool = False, is_harmless: bool = False
    ) -> None:
        """Count a list of faults of one kind."""
        for example in examples[:MAX_EXAMPLES]:
            self.add(kind, action, example, is_fatal=is_fatal, is_harmless=is_harmless)
        if rest := len(examples) - len(examples[:MAX_EXAMPLES]):
            self.add(kind, action, "", is_fatal=is_fatal, is_harmless=is_harmless, count=rest)

    @property
    def has_fatal(self) -> bool:
        """Whether any fault forbids the use of the data set."""
        return any(finding.is_fatal for finding in self.findings)

    @property
    def has_faults(self) -> bool:
        """Whether anything is lost or wrong; what was read as it was meant is none."""
        return any(not finding.is_harmless for finding in self.findings)

    def mentioned(self, words: Sequence[str]) -> list[str]:
        """Lines of the findings whose kind has one of these words in it."""
        return [finding.line() for finding in self.findings if any(word in finding.kind for word in words)]

    def text(self) -> str:
        """One readable block: a head line, then a line for each kind of fault, fatal ones first."""
        head = (
            f"{self.source}: {self.num_images} images ({self.num_empty_images} without objects, kept as background), "
            f"{self.num_annotations} annotations"
        )
        ordered = sorted(self.findings, key=lambda finding: not finding.is_fatal)
        return "\n".join([head, *(f"  {finding.line()}" for finding in ordered)])

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for json."""
        return {
            "source": self.source,
            "num_images": self.num_images,
            "num_annotations": self.num_annotations,
            "num_empty_images": self.num_empty_images,
            "findings": [vars(finding) for finding in self.findings],
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DatasetReport:
        """Inverse of to_dict."""
        return cls(**{**values, "findings": [Finding(**finding) for finding in values["findings"]]})
