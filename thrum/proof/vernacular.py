"""Rocq source as text: its sentences, what they declare, and what in them could let something unproven through. Pure.

This is a reader for people's sake: it knows files, lines and theorems, which the compiled modules do not. Notations
can change how Rocq splits a file, so nothing rests on this alone: what binds is what the checker and
`Print Assumptions` say of the compiled modules. What could lead *these* astray (foreign code in the compiler) is
forbidden here, and so are notations that would hide text from this reader.
"""

from __future__ import annotations

import re

from thrum.proof.sentences import IDENT, QUALID, Place, Sentence, sentences
from thrum.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Theorem:
    """Something named that a file proves."""

    name: str
    """With its modules, without the file's own logical path."""
    line: int
    addressable: bool = True
    """False inside a functor or a module type, or without a name of its own: no command can ask for it."""
    sealed: bool = False
    """True inside a module with a signature, which may hide it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Required:
    """A module that a file requires: `From prefix Require name`."""

    prefix: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Vernacular:
    """What one file says."""

    theorems: tuple[Theorem, ...] = ()
    places: tuple[Place, ...] = ()
    requires: tuple[Required, ...] = ()


_PREFIX = re.compile(
    r"(?:(?:Local|Global|Export|Polymorphic|Monomorphic|Cumulative|NonCumulative|Private|Program|Time|Fail|Succeed"
    r'|Instructions|Profile|Timeout\s+\d+)(?=[\s#"])|Redirect\s*"\s*"|"\s*")\s*'
)
# A token of one's own that holds a parenthesis can swallow the beginning of a comment.
_SWALLOWING = re.compile(r"""\(\*|""|(?<!\A)(?<!\s)(?<!\A')(?<!\s')\(""")

_FORBIDDEN = tuple(
    (re.compile(rf"{pattern}(?![\w'])"), what)
    for pattern, what in (
        (r"Admit\s+Obligations", "Admit Obligations takes obligations as proven"),
        (r"Declare\s+ML\s+Module", "Declare ML Module loads code into the compiler"),
        (r"Load", "Load reads text from elsewhere"),
        (r"Drop", "Drop leaves the prover"),
        (r"Quit", "Quit ends the compilation early"),
        (r"Cd", "Cd changes where files are written"),
        (r"(?:Add|Remove)\s+(?:Rec\s+)?(?:LoadPath|ML\s+Path)", "changing the load path brings in other modules"),
        (r"(?:Write|Restore)\s+State", "a state can hold anything"),
        (r"(?:Recursive\s+)?Extraction\s+Library|Separate\s+Extraction", "extraction to files"),
        (r"Extraction\s+TestCompile", "Extraction TestCompile runs a compiler"),
        (r"Rewrite\s+Rules?|Symbols?", "rewrite rules are not checked"),
    )
)
_WRITES = re.compile(r'(?:Extraction\s*"|Print\s+(?:Sorted\s+)?Universes.*")', re.S)
_ASSUMED = re.compile(
    r"(Axioms?|Parameters?|Conjectures?)(?![\w'])\s*(?:\(\s*Inline\s*\)|Inline\b\s*(?:\(\s*\d+\s*\))?)?"
)
_VARIABLE = re.compile(r"(Variables?|Hypothesis|Hypotheses|Context)(?![\w'])")
_DECLARED = re.compile(r"(Declare\s+(?:Instance|Module|Morphism))(?![\w'])\s*(?:(?:Import|Export)\s+)?")
_OPTION = re.compile(r"(Set|Unset)\s+(.+)", re.S)
_GIVEN_UP = re.compile(r"(?<![\w'.])(admit|give_up)(?![\w'])")
_REQUIRE = re.compile(rf"(?:From\s+({QUALID})\s+)?Require\s+(?:(?:Import|Export)\s+)?(?:-?\s*\([^)]*\)\s*)?(.*)", re.S)

_THEOREM = r"Theorem|Lemma|Fact|Remark|Corollary|Proposition|Property"
_PROVEN = re.compile(
    rf"({_THEOREM}|Definition|Example|Instance|Fixpoint|CoFixpoint|SubClass|Coercion|Let(?:\s+(?:Co)?Fixpoint)?"
    r"|Goal|Next\s+Obligation|Final\s+Obligation|Obligation\s+\d+|Add\s+(?:Parametric\s+)?(?:Morphism|Relation|Setoid))"
    rf"(?![\w'])\s*({IDENT})?"
)
_MODULE = re.compile(rf"Module\s+(Type\s+)?(?:(?:Import|Export)\s+)?({IDENT})\s*(.*)", re.S)
_SECTION = re.compile(rf"(?:Section|Chapter)\s+({IDENT})\s*\Z")
_FINISH = re.compile(rf"(Qed|Defined|Save|Admitted|Abort)(?![\w'])(?:\s+(?:(?:{_THEOREM})\s+)?({IDENT}))?")
_END_OF = re.compile(rf"End\s+({IDENT})\s*\Z")
_PROOF_TERM = re.compile(r"Proof\s+(?!using\b|with\b|Mode\b)\S")
_LET = re.compile(r"\blet\b[^:]*(?::(?!=)[^:]*)?:=")
_WITH_DEFINITION = re.compile(rf"\bwith\s+(?:Definition|Module)\s+{QUALID}\s*(?:@\{{[^}}]*\}}\s*)?:=")


def weakened(option: str, on: bool) -> str:
    """What is lost by `Set` (or, with `on` false, `Unset`) of this option; empty if it is harmless.

    What the option is set to does not matter.
    """
    words = " ".join(option.split()[:2])
    if words in ("Guard Checking", "Positivity Checking", "Universe Checking") and not on:
        return f"Unset {words} takes what the kernel would refuse"
    if words in ("Definitional UIP", "Type In", "Allow Rewrite") and on:
        return f"Set {option.strip()} changes the logic"
    if words in ("Impredicative Set", "Extraction Output", "NativeCompute Profile", "Dump Arith") and on:
        return f"Set {option.strip()} changes the logic, or writes files"
    return ""


def read(source: str) -> Vernacular:
    """What a file declares, requires and should not hold."""
    found, places = sentences(source)
    reader = _Reader(list(places))
    for sentence in found:
        reader.take(sentence)
    reader.end(source.count("\n") + 1)
    return Vernacular(
        theorems=tuple(reader.theorems),
        places=tuple(sorted(reader.places, key=lambda place: place.line)),
        requires=tuple(reader.requires),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frame:
    """A section or module that is open."""

    name: str
    section: bool = False
    signature: bool = False
    functor: bool = False
    sealed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Open:
    """A proof that is open."""

    names: tuple[str, ...]
    line: int
    kept: bool
    """Whether it stays as something that can be named."""


class _Reader:
    """Walks through the sentences of a file."""

    def __init__(self, places: list[Place]) -> None:
        self.places = places
        self.theorems: list[Theorem] = []
        self.requires: list[Required] = []
        self._frames: list[_Frame] = []
        self._proofs: list[_Open] = []

    def take(self, sentence: Sentence) -> None:
        text = self._stripped(sentence)
        self._judge(sentence, text)
        for step in (self._required, self._structure, self._finish, self._proof):
            if step(sentence, text):
                return

    def end(self, line: int) -> None:
        for frame in self._frames:
            self.places.append(Place(line=line, what=f"the section or module {frame.name} does not end"))

    def _stripped(self, sentence: Sentence) -> str:
        """The sentence from its command on, without attributes and prefixes."""
        text = sentence.text
        while True:
            if text.startswith("#["):
                end = _bracket_end(text, 1)
            elif prefix := _PREFIX.match(text):
                if prefix[0].startswith("Redirect"):
                    self._object(sentence, "Redirect writes files")
                end = prefix.end()
            else:
                return text
            text = text[end:].lstrip()

    def _object(self, sentence: Sentence, what: str, declares: tuple[str, ...] = ()) -> None:
        names = self._proofs[-1].names if self._proofs else ()
        full = tuple(map(self._full, declares or ()))
        place = Place(line=sentence.line, what=what, theorem=self._full(names[0]) if names else "", declares=full)
        self.places.append(place)

    def _full(self, name: str) -> str:
        return ".".join([*(frame.name for frame in self._frames if not frame.section), name])

    def _judge(self, sentence: Sentence, text: str) -> None:
        for pattern, what in _FORBIDDEN:
            if pattern.match(text):
                self._object(sentence, what)
        if _WRITES.match(text):
            self._object(sentence, "output to a file")
        if re.search(r"\bbypass_check\b", sentence.text):
            self._object(sentence, "bypass_check takes what the kernel would refuse")
        if (option := _OPTION.match(text)) and (lost := weakened(option[2], option[1] == "Set")):
            self._object(sentence, lost)
        if given_up := _GIVEN_UP.search(sentence.text):
            names = self._proofs[-1].names if self._proofs else ()
            self._object(sentence, f"{given_up[1]} leaves a goal unproven", names)
        if re.search(r"\b(?:Notation|Infix|where)\b", text) and any(map(_SWALLOWING.search, sentence.strings)):
            self._object(sentence, "a notation with a ( or a quote inside of a token can hide text in comments")
        if not any(frame.signature for frame in self._frames):
            self._judge_assumption(sentence, text)

    def _judge_assumption(self, sentence: Sentence, text: str) -> None:
        # In a module type these are a signature: a functor takes them as arguments, a module must define them.
        # Whoever turns one into an axiom (`Declare Module`, `Include`) is found there, or in the assumptions.
        if found := _ASSUMED.match(text):
            names = _assumed_names(text[found.end() :])
            self._object(sentence, f"{found[1]} {', '.join(names)}".rstrip(), names)
        elif found := _DECLARED.match(text):
            name = re.match(IDENT, text[found.end() :])
            names = (name[0],) if name and "Instance" in found[1] else ()
            self._object(sentence, f"{' '.join(found[1].split())} {name[0] if name else ''}".rstrip(), names)
        elif (found := _VARIABLE.match(text)) and not any(frame.section for frame in self._frames):
            names = _assumed_names(text[found.end() :])
            self._object(sentence, f"{found[1]} {', '.join(names)} outside of a section", names)

    def _required(self, sentence: Sentence, text: str) -> bool:
        found = _REQUIRE.match(text)
        if found is None:
            return False
        listed = re.sub(r"\([^)]*\)", " ", found[2])
        self.requires += [Required(prefix=found[1] or "", name=name) for name in re.findall(QUALID, listed)]
        return True

    def _structure(self, sentence: Sentence, text: str) -> bool:
        if section := _SECTION.match(text):
            self._frames.append(_Frame(name=section[1], section=True))
        elif module := _MODULE.match(text):
            rest = _WITH_DEFINITION.sub(" ", module[3])
            if ":=" not in rest:
                sealed = bool(re.search(r"(?<!<):", _without_brackets(rest)))
                frame = _Frame(
                    name=module[2],
                    signature=bool(module[1]),
                    functor=rest.startswith(("(", "!", "[")),
                    sealed=sealed,
                )
                self._frames.append(frame)
        elif ending := _END_OF.match(text):
            if self._frames and self._frames[-1].name == ending[1]:
                self._frames.pop()
            else:
                self._object(sentence, f"End {ending[1]} ends nothing that is open here")
        else:
            return False
        return True

    def _proof(self, sentence: Sentence, text: str) -> bool:
        found = _PROVEN.match(text)
        if found is None:
            return False
        kind, name = " ".join(found[1].split()), found[2] or ""
        in_section = any(frame.section for frame in self._frames)
        if not re.fullmatch(_THEOREM, kind) and ":=" in _LET.sub(" ", text):
            if kind == "Example" and name:
                self._keep(_Open(names=(name,), line=sentence.line, kept=True))
            return False
        if kind.startswith("Add"):
            last = re.search(rf"\bas\s+({IDENT})\s*\Z", text)
            name = f"{last[1]}_Proper" if last and "Morphism" in kind else ""
        if kind.endswith("Obligation") or kind.startswith("Obligation"):
            self._proofs.append(_Open(names=(), line=sentence.line, kept=False))
            return True
        further = () if kind.startswith("Add") else _with_names(text)
        names = (name, *further) if name else ()
        kept = kind != "Goal" and not (kind.startswith("Let") and in_section)
        self._proofs.append(_Open(names=names, line=sentence.line, kept=kept))
        return True

    def _finish(self, sentence: Sentence, text: str) -> bool:
        found = _FINISH.match(text)
        if found is None and not _PROOF_TERM.match(text):
            return False
        proof = self._proofs.pop() if self._proofs else _Open(names=(), line=sentence.line, kept=False)
        how, saved = (found[1], found[2]) if found else ("Qed", None)
        names = (saved,) if saved and how in ("Save", "Qed", "Defined") else proof.names
        if how == "Admitted":
            full = tuple(map(self._full, names))
            theorem = full[0] if full else ""
            self.places.append(Place(line=sentence.line, what="Admitted", theorem=theorem, declares=full))
        if how == "Abort":
            for one in (proof, *(self._proofs if saved == "All" else ())):
                self._give_up(sentence.line, one)
            self._proofs = [] if saved == "All" else self._proofs
        elif proof.kept:
            self._keep(_Open(names=names, line=proof.line, kept=True))
        return True

    def _give_up(self, line: int, proof: _Open) -> None:
        # A goal without a name is an experiment; what has one looks proven to whoever reads on.
        if proof.kept and proof.names:
            full = tuple(map(self._full, proof.names))
            what = "Abort leaves it stated and unproven"
            self.places.append(Place(line=line, what=what, theorem=full[0], declares=full, given_up=True))

    def _keep(self, proof: _Open) -> None:
        shut = any(frame.signature or frame.functor for frame in self._frames)
        sealed = any(frame.sealed for frame in self._frames)
        for name in proof.names or ("(without a name)",):
            addressable = not shut and bool(proof.names)
            theorem = Theorem(name=self._full(name), line=proof.line, addressable=addressable, sealed=sealed)
            self.theorems.append(theorem)


def _bracket_end(text: str, start: int) -> int:
    """Behind the bracket that closes the one at `start`; the end of the text if none does."""
    depth = 0
    for i in range(start, len(text)):
        depth += {"[": 1, "]": -1}.get(text[i], 0)
        if not depth:
            return i + 1
    return len(text)


_BRACKETS = re.compile(r"\([^()]*\)|\[[^\[\]]*\]|\{[^{}]*\}")


def _without_brackets(text: str) -> str:
    while (shorter := _BRACKETS.sub(" ", text)) != text:
        text = shorter
    return text


def _assumed_names(text: str) -> tuple[str, ...]:
    """The names that `Axiom` and its like declare; those before the first colon, or before that of each group."""
    rest = text.strip()
    groups = [rest]
    if rest.startswith(("(", "{", "[", "`")):
        groups, depth, start = [], 0, 0
        for i, char in enumerate(rest):
            if char in "([{":
                depth += 1
                start = i + 1 if depth == 1 else start
            elif char in ")]}":
                depth -= 1
                if depth == 0:
                    groups.append(rest[start:i])
    names: list[str] = []
    for group in groups:
        head = re.sub(r"@\{[^}]*\}", " ", group).split(":", 1)[0]
        names += re.findall(IDENT, head)
    return tuple(names)


def _with_names(text: str) -> tuple[str, ...]:
    """The further names of a mutual statement: after each `with` that belongs to no `match` and to no bracket."""
    depth, names = 0, []
    for word in re.finditer(rf"[(\[{{]|[)\]}}]|\bmatch\b|\bend\b|\bwith\s+({IDENT})", text):
        if word[0] in "([{" or word[0] == "match":
            depth += 1
        elif word[0] in ")]}" or word[0] == "end":
            depth -= 1
        elif depth == 0:
            names.append(word[1])
    return tuple(names)
