"""JUnit XML, as many programs write it, read as `Tally`. It was written by untrusted code."""

from __future__ import annotations

from xml.parsers import expat

from thrum.gate import Tally
from thrum.runners.tally import told

MOST_BYTES = 8 * 1024 * 1024
_DEEPEST = 100
# GoogleTest lists what it did not run as a case of its own, without a `skipped` in it.
_NOT_RUN = {"notrun", "disabled", "skipped"}


def read_junit(document: bytes) -> Tally:
    """What the test cases of a document say, wherever in it they stand; the counts in its attributes are not read.

    A case with a `failure` or `error` has failed, whatever else it holds, and is named `classname::name`; one that is
    `skipped`, or has a status that says it was not run, is skipped. A document without a case ran no test.

    Raises: ValueError if it is above `MOST_BYTES`, has a DOCTYPE (so no entity is ever declared or expanded), is
    malformed, is nested deeper than a hundred elements, or is not JUnit XML.
    """
    if len(document) > MOST_BYTES:
        raise ValueError(f"the JUnit document has {len(document)} bytes; at most {MOST_BYTES} are read")
    reader = _Reader()
    try:
        reader.parser.Parse(document, True)
    except _RefusedError as error:
        raise ValueError(f"the JUnit document {error}") from None
    # The last two are for encodings that do not exist, or that the document does not keep to.
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise ValueError(f"the JUnit document is malformed: {error}") from error
    return told(run=reader.run, failed=reader.failed, skipped=reader.skipped, failing=reader.failing)


class _RefusedError(Exception):
    """The document has what is not taken."""


class _Reader:
    """What is known of a document so far: no tree is built, so that memory is bounded by its names."""

    def __init__(self) -> None:
        self.run = self.failed = self.skipped = 0
        self.failing: list[str] = []
        self._path: list[str] = []
        self._case = ""
        self._verdicts: set[str] = set()
        self.parser = expat.ParserCreate()
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end

    def _doctype(self, *_: object) -> None:
        raise _RefusedError("has a DOCTYPE, which is refused: it can declare entities")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if not self._path and tag not in {"testsuites", "testsuite"}:
            raise _RefusedError(f"is no JUnit XML: its root is <{tag[:100]}>, not <testsuites> or <testsuite>")
        if len(self._path) == _DEEPEST:
            raise _RefusedError(f"is nested deeper than {_DEEPEST} elements")
        if tag == "testcase":
            self._case = "::".join(filter(None, (attributes.get("classname"), attributes.get("name"))))
            self._verdicts = {"skipped"} if attributes.get("status", "").lower() in _NOT_RUN else set()
        elif self._path and self._path[-1] == "testcase":
            self._verdicts.add(tag)
        self._path.append(tag)

    def _end(self, tag: str) -> None:
        self._path.pop()
        if tag != "testcase":
            return
        if self._verdicts & {"failure", "error"}:
            self.run += 1
            self.failed += 1
            self.failing.append(self._case)
        elif "skipped" in self._verdicts:
            self.skipped += 1
        else:
            self.run += 1
