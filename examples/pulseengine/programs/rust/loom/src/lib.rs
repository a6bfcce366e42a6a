//! Optimise programs for the stack machine: fold constants, and put what is cheap in the place of what is not.

/// The operations on two words, with what SMT-LIB calls them.
pub const OPERATIONS: &[(&str, &str)] = &[
    ("add", "bvadd"),
    ("sub", "bvsub"),
    ("mul", "bvmul"),
    ("div", "bvsdiv"),
    ("shl", "bvshl"),
    ("sar", "bvashr"),
];

/// What may stand in the place of what. Each rule has its proof, for all words on top of the stack.
pub const RULES: &[(&str, &str, &str)] = &[
    ("add-zero", "push 0; add", ""),
    ("mul-by-one", "push 1; mul", ""),
    ("mul-by-two", "push 2; mul", "push 1; shl"),
];

/// What an operation does to two words; nothing where it cannot be done.
fn operate(name: &str, a: i32, b: i32) -> Option<i32> {
    Some(match name {
        "add" => a.wrapping_add(b),
        "sub" => a.wrapping_sub(b),
        "mul" => a.wrapping_mul(b),
        "div" if b != 0 => a.wrapping_div(b),
        "shl" => a.checked_shl(b as u32).unwrap_or(0),
        "sar" => a >> (b as u32).min(31),
        _ => return None,
    })
}

/// A program that prints the same, as lines.
pub fn optimise(program: &[&str]) -> Vec<String> {
    let mut made: Vec<String> = Vec::new();
    for line in program {
        made.push(line.to_string());
        while rewrite(&mut made) || fold(&mut made) {}
    }
    made
}

/// Apply the first rule that fits the end of the program; whether one did.
fn rewrite(made: &mut Vec<String>) -> bool {
    for (_, before, after) in RULES {
        let pattern: Vec<String> = instructions(before).into_iter().map(String::from).collect();
        if made.ends_with(&pattern) {
            made.truncate(made.len() - pattern.len());
            made.extend(instructions(after).into_iter().map(String::from));
            return true;
        }
    }
    false
}

/// Put a number in the place of an operation on two numbers that ends the program; whether there was one.
fn fold(made: &mut Vec<String>) -> bool {
    let word = match made.as_slice() {
        [.., a, b, name] => folded(a, b, name),
        _ => None,
    };
    if let Some(word) = word {
        made.truncate(made.len() - 3);
        made.push(format!("push {word}"));
    }
    word.is_some()
}

/// What an operation makes of two instructions that push a number each.
fn folded(a: &str, b: &str, name: &str) -> Option<i32> {
    operate(name, pushed(a)?, pushed(b)?)
}

fn pushed(line: &str) -> Option<i32> {
    Some(line.strip_prefix("push ")?.parse::<i64>().ok()? as i32)
}

pub fn instructions(text: &str) -> Vec<&str> {
    text.split("; ").filter(|line| !line.is_empty()).collect()
}

/// What a piece of code leaves in the place of the word x; nothing where it cannot be done.
pub fn result(code: &str, x: i32) -> Option<i32> {
    let operate = |name: &str, a: Option<i32>, b: Option<i32>| operate(name, a?, b?);
    left(code, Some(x), &Some, &operate)
}

/// The text of a rule's proof obligation: that no word tells its two sides apart.
pub fn obligation(name: &str) -> Option<String> {
    let (_, before, after) = RULES.iter().find(|rule| rule.0 == name)?;
    let literal = |number: i32| format!("#x{number:08x}");
    let term = |name: &str, a: String, b: String| {
        let known = OPERATIONS.iter().find(|operation| operation.0 == name);
        format!("({} {a} {b})", known.map_or("unknown", |one| one.1))
    };
    let meant = left(before, "x".to_string(), &literal, &term);
    let made = left(after, "x".to_string(), &literal, &term);
    let told = if after.is_empty() { "nothing" } else { after };
    Some(format!(
        "; {name}, for every word x on top of the stack: {before} | {told}\n\
         (set-logic QF_BV)\n\
         (set-info :status unsat)\n\
         (declare-const x (_ BitVec 32))\n\
         (assert (not (= {meant} {made})))\n\
         (check-sat)\n"
    ))
}

/// What a rule's code leaves on a stack with x, in terms of `number` and `operate`.
fn left<T: Clone>(
    code: &str,
    x: T,
    number: &dyn Fn(i32) -> T,
    operate: &dyn Fn(&str, T, T) -> T,
) -> T {
    let mut stack = vec![x];
    for line in instructions(code) {
        let top = stack.pop().expect("a rule leaves a word");
        if let Some(word) = pushed(line) {
            stack.extend([top, number(word)]);
        } else if line == "dup" {
            stack.extend([top.clone(), top]);
        } else {
            let below = stack.pop().expect("a rule works on its own words");
            stack.push(operate(line, below, top));
        }
    }
    assert_eq!(stack.len(), 1, "a rule leaves one word");
    stack.remove(0)
}
