//! Compile programs for the stack machine into executable files.
//!
//! The stack is gone by then: every word has a variable of its own. The executable gets its numbers as arguments, and
//! prints one line for each `print`.

/// The operations on two words, as expressions.
const OPERATIONS: &[(&str, &str)] = &[
    ("add", "{a} + {b}"),
    ("sub", "{a} - {b}"),
    ("mul", "{a} * {b}"),
    ("div", "divide({a}, {b})"),
    ("shl", "{a} << {b} if 0 <= {b} < 32 else 0"),
    ("sar", "{a} >> ({b} if 0 <= {b} < 32 else 31)"),
];

const START: &str = r#"#!/usr/bin/env python3
import sys

numbers = [int(text) for text in sys.argv[1:]]


def word(number):
    return (number + 2**31) % 2**32 - 2**31


def divide(a, b):
    if b == 0:
        sys.exit("division by zero")
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def read():
    if not numbers:
        sys.exit("nothing to read")
    return numbers.pop(0)


"#;

/// The text of the executable; else what cannot be compiled, with its line.
pub fn compiled(program: &str) -> Result<String, String> {
    let (mut stack, mut lines) = (Vec::new(), Vec::new());
    for (place, line) in program.lines().enumerate() {
        step(line, &mut stack, &mut lines)
            .map_err(|what| format!("line {}: {line}: {what}", place + 1))?;
    }
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    Ok(format!("{START}{text}"))
}

const TOO_LITTLE: &str = "too little on the stack";

/// Compile one instruction.
fn step(line: &str, stack: &mut Vec<String>, lines: &mut Vec<String>) -> Result<(), &'static str> {
    match line.split_once(' ').unwrap_or((line, "")) {
        ("push", number) => {
            let number: i64 = number.parse().map_err(|_| "no such number")?;
            define(format!("word({number})"), stack, lines);
        }
        ("read", "") => define("word(read())".to_string(), stack, lines),
        ("print", "") => lines.push(format!("print({})", stack.pop().ok_or(TOO_LITTLE)?)),
        ("dup", "") => stack.push(stack.last().ok_or(TOO_LITTLE)?.clone()),
        ("drop", "") => {
            stack.pop().ok_or(TOO_LITTLE)?;
        }
        ("swap", "") => {
            let (b, a) = two(stack)?;
            stack.extend([b, a]);
        }
        _ => {
            let known = OPERATIONS.iter().find(|operation| operation.0 == line);
            let (_, expression) = known.ok_or("no such instruction")?;
            let (b, a) = two(stack)?;
            let expression = expression.replace("{a}", &a).replace("{b}", &b);
            define(format!("word({expression})"), stack, lines);
        }
    }
    Ok(())
}

/// The two words on top, the topmost first.
fn two(stack: &mut Vec<String>) -> Result<(String, String), &'static str> {
    match (stack.pop(), stack.pop()) {
        (Some(b), Some(a)) => Ok((b, a)),
        _ => Err(TOO_LITTLE),
    }
}

/// Give a word a variable; each line defines at most one, so its number is a name.
fn define(expression: String, stack: &mut Vec<String>, lines: &mut Vec<String>) {
    let name = format!("w{}", lines.len());
    lines.push(format!("{name} = {expression}"));
    stack.push(name);
}
