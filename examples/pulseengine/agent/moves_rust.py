"""What a model would have thought of, for the programs in Rust."""

from editing import edit
from proofs import PLAIN, ROUNDED, oblige_division, prove_any_number

TWO = """\
    let names = resolve(modules)?;
    match modules {
        [first, second] => Ok([lines(first, &names)?, lines(second, &names)?].concat()),
        _ => Err(format!(
            "two modules can be fused, and there are {}",
            modules.len()
        )),
    }
"""
ANY_NUMBER = """\
    let names = resolve(modules)?;
    let mut program = Vec::new();
    for module in modules {
        program.extend(lines(module, &names)?);
    }
    Ok(program)
"""
FUSING = """\
#[test]
fn any_number_of_modules_can_be_fused() {
    let third = "module third\\nread\\npush two\\nmul\\nprint\\n";
    let program = fused(&format!("{FIRST}{SECOND}{third}")).unwrap();
    assert_eq!(run(&program, &[20, 4]), Ok(vec![43, 8]));
    assert_eq!(fused(""), Ok(vec![]));
}

"""


def fuse_any_number() -> None:
    edit(
        "src/lib.rs",
        ("/// The program that two modules make together", "/// The program that the modules make together"),
        (TWO, ANY_NUMBER),
    )
    here = "#[test]\nfn a_name_that_nothing_has_is_a_fault() {\n"
    edit("tests/fusing.rs", (here, FUSING + here))
    prove_any_number()


COMPILING = """\
#[test]
fn shr_brings_in_zeros() {
    prints("push -1; push 31; shr; print", "1");
    prints("push -1; push 0; shr; print", "-1");
    prints("push -1; push 32; shr; print", "0");
}

"""


def compile_shr() -> None:
    here = '    ("sar", "{a} >> ({b} if 0 <= {b} < 32 else 31)"),\n'
    edit("src/lib.rs", (here, here + '    ("shr", "{a} % 2**32 >> {b} if 0 <= {b} < 32 else 0"),\n'))
    here = "#[test]\nfn a_program_stops_where_it_cannot_go_on() {\n"
    edit("tests/compiling.rs", (here, COMPILING + here))


RULE = '    ("div-by-two", "push 2; div", "{}"),\n'
HALVING = """\
#[test]
fn half_is_a_shift() {
    same("div-by-two", &[0, 7, 8, i32::MAX]);
}

"""


def divide_by_shifting() -> None:
    """The obvious way, which is wrong for words that are negative and odd."""
    here = '    ("mul-by-two", "push 2; mul", "push 1; shl"),\n'
    edit("src/lib.rs", (here, here + RULE.format(PLAIN)))
    oblige_division(PLAIN)
    here = "fn optimised(program: &str) -> String {\n"
    edit("tests/rules.rs", (here, HALVING + here))


def mend_division(word: int) -> None:
    """Round towards zero, and test what the solver found."""
    named = '    ("sar", "bvashr"),\n'
    done = '        "sar" => a >> (b as u32).min(31),\n'
    # A longer one is written in this way by rustfmt.
    rounded = f'    (\n        "div-by-two",\n        "push 2; div",\n        "{ROUNDED}",\n    ),\n'
    edit(
        "src/lib.rs",
        (named, named + '    ("shr", "bvlshr"),\n'),
        (done, done + '        "shr" => (a as u32).checked_shr(b as u32).unwrap_or(0) as i32,\n'),
        (RULE.format(PLAIN), rounded),
    )
    oblige_division(ROUNDED)
    edit("tests/rules.rs", ('"div-by-two", &[0, 7, 8, i32::MAX]', f'"div-by-two", &[0, 7, 8, i32::MAX, {word}]'))
