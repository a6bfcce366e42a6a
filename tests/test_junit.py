"""JUnit XML from programs that nobody vouches for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from thrum.gate import MOST_NAMES
from thrum.gate import Tally as Said  # pytest takes any other name that begins so for tests of ours
from thrum.junit import MOST_BYTES, read_junit
from thrum.runners.tally import LONGEST_NAME

NODE = b"""<?xml version="1.0" encoding="utf-8"?>
<testsuites>
\t<testcase name="ok" time="0.002351" classname="test"/>
\t<testcase name="later" time="0.000352" classname="test">
\t\t<skipped type="skipped" message="why"/>
\t</testcase>
\t<testsuite name="group" time="0.006492" disabled="0" errors="0" tests="3" failures="2" skipped="0" hostname="h">
\t\t<testcase name="inner bad" time="0.000235" classname="test" failure="x">
\t\t\t<failure type="testCodeFailure" message="x">Error: x &lt;anonymous></failure>
\t\t</testcase>
\t\t<testsuite name="deep" time="0.004909" tests="1" failures="1">
\t\t\t<testcase name="deepest" time="0.004527" classname="test"><failure/></testcase>
\t\t</testsuite>
\t</testsuite>
\t<!-- tests 7 -->
</testsuites>
"""


def cases(*texts: str) -> bytes:
    return f"<testsuite>{''.join(texts)}</testsuite>".encode()


def test_cases_are_counted_wherever_they_stand() -> None:
    assert read_junit(NODE) == Said(run=3, failed=2, skipped=1, failing=("test::inner bad", "test::deepest"))


def test_the_counts_in_the_attributes_are_not_believed() -> None:
    document = b'<testsuite tests="9" failures="0"><testcase name="a"><error/></testcase></testsuite>'
    assert read_junit(document) == Said(run=1, failed=1, failing=("a",))


def test_failures_and_errors_are_failed_even_beside_a_skip() -> None:
    document = cases(
        '<testcase classname="c" name="a"><failure/></testcase>',
        '<testcase classname="c" name="b"><error>why</error></testcase>',
        '<testcase classname="c" name="d"><skipped/><failure/></testcase>',
        '<testcase classname="c" name="e"><system-out>failure</system-out></testcase>',
    )
    assert read_junit(document) == Said(run=4, failed=3, failing=("c::a", "c::b", "c::d"))


def test_only_what_stands_in_a_case_itself_is_its_verdict() -> None:
    document = cases("<testcase name='a'><properties><failure/></properties></testcase>", "<failure/>")
    assert read_junit(document) == Said(run=1)


def test_a_case_that_says_it_was_not_run_is_skipped() -> None:
    document = cases('<testcase name="DISABLED_a" status="notrun"/>', '<testcase name="b" status="run"/>')
    assert read_junit(document) == Said(run=1, skipped=1)


def test_a_document_without_a_case_ran_no_test() -> None:
    assert read_junit(b"<testsuites/>") == Said()


def test_what_pytest_writes_is_read(tmp_path: Path) -> None:
    tmp_path.joinpath("test_it.py").write_text(
        "import pytest\ndef test_a(): pass\ndef test_b(): assert 0, '<&\\x1b'\n@pytest.mark.skip\ndef test_c(): pass\n"
        "@pytest.fixture\ndef broken(): raise RuntimeError\ndef test_d(broken): pass\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=out.xml"]
    subprocess.run(command, cwd=tmp_path, check=False, capture_output=True)
    tests = read_junit(tmp_path.joinpath("out.xml").read_bytes())
    assert tests == Said(run=3, failed=2, skipped=1, failing=("test_it::test_b", "test_it::test_d"))


@pytest.mark.parametrize(
    "document",
    [
        b'<!DOCTYPE t [<!ENTITY a "x"><!ENTITY b "&a;&a;">]><testsuite name="&b;"/>',
        b'<!DOCTYPE t [<!ENTITY a SYSTEM "file:///etc/passwd">]><testsuite><testcase>&a;</testcase></testsuite>',
        b'<!DOCTYPE t SYSTEM "http://127.0.0.1:1/t.dtd"><testsuite/>',
        '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE testsuite><testsuite/>'.encode("utf-16"),
    ],
    ids=["entities", "external entity", "external subset", "in UTF-16"],
)
def test_a_document_with_a_doctype_is_refused(document: bytes) -> None:
    with pytest.raises(ValueError, match="has a DOCTYPE, which is refused"):
        read_junit(document)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"not xml",
        b"<testsuite><testcase name='a'>",
        b"<testsuite></testsuites>",
        b"<testsuite/><testsuite/>",
        b"<testsuite>&undeclared;</testsuite>",
        b"<testsuite>\xff</testsuite>",
        b"<testsuite name='\x00'/>",
        b"<?xml version='1.0' encoding='no-such'?><testsuite/>",
        b"<?xml version='1.0' encoding='zlib_codec'?><testsuite/>",
        b"<?xml version='1.0' encoding='utf-7'?><testsuite/>",
    ],
)
def test_a_malformed_document_is_an_error_that_says_so(document: bytes) -> None:
    with pytest.raises(ValueError, match="the JUnit document is malformed: "):
        read_junit(document)


def test_another_kind_of_document_is_refused() -> None:
    with pytest.raises(ValueError, match="is no JUnit XML: its root is <html>"):
        read_junit(b"<html><testcase/></html>")


def test_a_document_that_is_nested_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match="nested deeper than 100 elements"):
        read_junit(b"<testsuite>" * 500_000)


def test_a_document_above_the_limit_is_not_read() -> None:
    document = cases("<testcase/>") + b" " * MOST_BYTES
    with pytest.raises(ValueError, match=f"at most {MOST_BYTES} are read"):
        read_junit(document)
    assert read_junit(document[:MOST_BYTES]) == Said(run=1)


def test_names_are_bounded_and_kept_once() -> None:
    case = "<testcase classname='c' name='{}'><failure/></testcase>"
    names = ["a" * 5000, "twice", "twice", *(f"n{number}" for number in range(3 * MOST_NAMES))]
    tests = read_junit(cases(*(case.format(name) for name in names)))
    assert tests.failed == len(names)
    assert len(tests.failing) == len(set(tests.failing)) == MOST_NAMES
    assert max(len(name) for name in tests.failing) == LONGEST_NAME
