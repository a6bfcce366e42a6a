use std::process::Command;
use synth::compiled;

/// Whether the compiled program ends well, and what it prints.
fn outcome(program: &str, numbers: &[&str]) -> (bool, String) {
    let text = compiled(&program.replace("; ", "\n")).unwrap();
    let command = ["-c", &text];
    let ran = Command::new("python3")
        .args(command)
        .args(numbers)
        .output()
        .unwrap();
    let said = String::from_utf8([ran.stdout, ran.stderr].concat()).unwrap();
    (ran.status.success(), said.trim().replace('\n', " "))
}

fn prints(program: &str, expected: &str) {
    assert_eq!(outcome(program, &[]), (true, expected.to_string()));
}

#[test]
fn what_is_read_is_printed() {
    let said = outcome("read; print; read; print", &["7", "-9"]);
    assert_eq!(said, (true, "7 -9".to_string()));
}

#[test]
fn words_change_their_places() {
    prints("push 1; push 2; swap; print; print", "1 2");
    prints("push 3; dup; print; push 4; drop; print", "3 3");
}

#[test]
fn words_are_computed() {
    prints(
        "push 20; push 3; add; print; push 20; push 3; sub; print",
        "23 17",
    );
    prints("push 65536; push 65536; mul; print", "0");
    prints(
        "push -7; push 2; div; print; push -7; push 1; sar; print",
        "-3 -4",
    );
    prints(
        "push 3; push 31; shl; print; push 1; push 32; shl; print",
        "-2147483648 0",
    );
}

#[test]
fn a_program_stops_where_it_cannot_go_on() {
    let stopped = outcome("push 1; push 0; div; print", &[]);
    assert_eq!(stopped, (false, "division by zero".to_string()));
    let stopped = outcome("read; print", &[]);
    assert_eq!(stopped, (false, "nothing to read".to_string()));
}

#[test]
fn what_cannot_be_compiled_is_told_with_its_line() {
    let fault = compiled("push 1\njump").unwrap_err();
    assert_eq!(fault, "line 2: jump: no such instruction");
    let fault = compiled("push 1\nadd").unwrap_err();
    assert_eq!(fault, "line 2: add: too little on the stack");
}
