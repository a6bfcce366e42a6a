use meld::{fuse, parse, run};

const FIRST: &str = "module first\nconst two 2\nread\npush two\nmul  # twice\n";
const SECOND: &str = "module second\npush three\nadd\nprint\nconst three 3\n";

fn fused(text: &str) -> Result<Vec<String>, String> {
    fuse(&parse(text)?)
}

#[test]
fn the_code_of_two_modules_comes_one_after_the_other() {
    let program = fused(&format!("{FIRST}{SECOND}")).unwrap();
    assert_eq!(program.join("; "), "read; push 2; mul; push 3; add; print");
    assert_eq!(run(&program, &[20]), Ok(vec![43]));
}

#[test]
fn a_name_that_nothing_has_is_a_fault() {
    let fault = fused(&format!("{FIRST}module second\npush three\n")).unwrap_err();
    assert_eq!(fault, "second: nothing is named three");
}

#[test]
fn a_name_may_be_given_once() {
    let fault = fused(&format!("{FIRST}module second\nconst two 3\n")).unwrap_err();
    assert_eq!(fault, "second: two is named a second time");
}

#[test]
fn what_is_no_instruction_is_told_with_its_line() {
    for line in ["jump", "push", "add 1", "const b c"] {
        let fault = parse(&format!("module a\n{line}\n")).unwrap_err();
        assert_eq!(fault, format!("line 2: {line}: no such instruction"));
    }
    let fault = parse("add\n").unwrap_err();
    assert_eq!(fault, "line 1: add: no module has begun");
}

fn outcome(program: &str) -> Result<Vec<i32>, String> {
    let lines: Vec<String> = program.split("; ").map(String::from).collect();
    run(&lines, &[])
}

#[test]
fn words_have_32_bits_and_division_goes_towards_zero() {
    let most = outcome("push 2147483647; push 1; add; print");
    assert_eq!(most, Ok(vec![-2147483648]));
    assert_eq!(outcome("push -7; push 2; div; print"), Ok(vec![-3]));
}

#[test]
fn a_program_stops_where_it_cannot_go_on() {
    for program in ["add", "read", "push 1; push 0; div"] {
        assert!(outcome(program).is_err());
    }
}
