"""Which names a command of SMT-LIB brings in, and which ones have a meaning that no script may take away. Pure.

Z3 takes `(define-fun > ((x Int) (y Int)) Bool false)` without a word, and answers by it from then on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

_CORE = """
    true false not and or xor => implies iff = == equals equiv && || distinct ite if is update-field
    ! _ as let forall exists lambda choice match par
"""
_NUMBERS = """
    + - * / div mod rem ^ ~ < <= > >= /0 div0 mod0 rem0 ^0 idiv0 abs divisible to_real to_int is_int root-obj pi euler
    sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh at-most at-least pble pbge pbeq
"""
_ARRAYS = """
    select store const map default array-ext as-array union intersect intersection setminus complement subset
    set-has-size card partial-order linear-order tree-order piecewise-linear-order transitive-closure
"""
_BIT_VECTORS = """
    concat extract repeat zero_extend sign_extend rotate_left rotate_right ext_rotate_left ext_rotate_right bit2bool
    mkbv bit0 bit1 bv2int bv2nat int2bv int_to_bv nat2bv ubv_to_int sbv_to_int
    bvneg bvadd bvsub bvmul bvsdiv bvudiv bvsrem bvurem bvsmod bvule bvsle bvuge bvsge bvult bvslt bvugt bvsgt
    bvand bvor bvnot bvxor bvnand bvnor bvxnor bvshl bvlshr bvashr bvredand bvredor bvcomp bvumul_noovfl bvsmul_noovfl
    bvsmul_noudfl bvnego bvuaddo bvsaddo bvusubo bvssubo bvumulo bvsmulo bvsdivo bvsdiv0 bvudiv0 bvsrem0 bvurem0
    bvsmod0 bvsdiv_i bvudiv_i bvsrem_i bvurem_i bvsmod_i
"""
_FLOATS = """
    fp to_fp to_fp_unsigned NaN +oo -oo +zero -zero RNE RNA RTP RTN RTZ roundNearestTiesToEven roundNearestTiesToAway
    roundTowardPositive roundTowardNegative roundTowardZero
"""
BUILT_IN = frozenset(f"{_CORE} {_NUMBERS} {_ARRAYS} {_BIT_VECTORS} {_FLOATS}".split())
"""What the theories of SMT-LIB, and Z3 beside them, mean something by."""
FAMILIES = ("fp.", "str.", "re.", "seq.", "set.", "char.", "int.")
"""How the names of whole families of theirs begin."""

_BINDERS = ("forall", "exists", "lambda", "choice", "let")

Tree = str | list["Tree"]


def is_built_in(symbol: str) -> bool:
    """Whether the symbol, as `plain_symbol` has it, has a meaning already."""
    return symbol in BUILT_IN or symbol.startswith(FAMILIES)


def brought_in(name: str, words: Sequence[str]) -> Iterator[str]:
    """The symbols that a command of this name with these words brings in, for all of the script or a part of a term.

    Of a declaration of datatypes all words are given: what is built in is no sort's name.
    """
    trees = _trees(words)
    if name in ("declare-datatype", "declare-datatypes"):
        yield from (word for word in words if word not in ("_", "par"))
    elif name.startswith(("declare-", "define-")) and trees:
        yield from _flat(trees[0])
        yield from _firsts(trees[1]) if name == "define-fun" and len(trees) > 1 else ()
    waiting: list[Tree] = [trees]
    while waiting:
        here = waiting.pop()
        if isinstance(here, str):
            continue
        yield from (after for word, after in pairwise(here) if word == ":named" and isinstance(after, str))
        if len(here) > 1 and here[0] in _BINDERS:
            yield from _firsts(here[1])
        if len(here) > 2 and here[0] == "match":
            patterns: list[Tree] = [case[0] for case in here[2] if isinstance(case, list) and case]
            yield from (word for word in _flat(patterns) if word != "_")
        waiting += here


def _trees(words: Iterable[str]) -> list[Tree]:
    """The words as nested lists; as deep as they like, which no call of ours could follow."""
    top: list[Tree] = []
    open_lists = [top]
    for word in words:
        if word == "(":
            inner: list[Tree] = []
            open_lists[-1].append(inner)
            open_lists.append(inner)
        elif word == ")":
            open_lists.pop()
        else:
            open_lists[-1].append(word)
    return top


def _firsts(bindings: Tree) -> Iterator[str]:
    """The names of a list of bindings, each with its sort or its value."""
    for binding in bindings if isinstance(bindings, list) else ():
        if isinstance(binding, list) and binding and isinstance(binding[0], str):
            yield binding[0]


def _flat(tree: Tree) -> Iterator[str]:
    waiting: list[Tree] = [tree]
    while waiting:
        here = waiting.pop()
        if isinstance(here, str):
            yield here
        else:
            waiting += here
