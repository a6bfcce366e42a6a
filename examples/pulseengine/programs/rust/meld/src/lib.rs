//! Fuse modules for the stack machine into one program: their code one after the other, all names resolved.
//!
//! A module begins with `module NAME`. `const NAME NUMBER` names a number, for `push NAME` in any module of the same
//! program. Every other line is an instruction; `#` begins a comment. proofs/Fusion.v says what fusing means.

use std::collections::{HashMap, VecDeque};

const PLAIN: [&str; 11] = [
    "read", "print", "dup", "swap", "drop", "add", "sub", "mul", "div", "shl", "sar",
];

/// One module: the numbers that it names, and its instructions, whose names may be any module's.
#[derive(Debug, Default)]
pub struct Module {
    pub name: String,
    pub numbers: Vec<(String, i64)>,
    pub code: Vec<Vec<String>>,
}

/// The modules in a text, in their order.
pub fn parse(text: &str) -> Result<Vec<Module>, String> {
    let mut modules: Vec<Module> = Vec::new();
    for (place, line) in text.lines().enumerate() {
        let code = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = code.split_whitespace().collect();
        let fault = |what: &str| Err(format!("line {}: {}: {what}", place + 1, code.trim()));
        match (words.as_slice(), modules.last_mut()) {
            ([], _) => {}
            (["module", name], _) => modules.push(Module {
                name: name.to_string(),
                ..Module::default()
            }),
            (_, None) => return fault("no module has begun"),
            (["const", name, value], Some(module)) => match value.parse() {
                Ok(number) => module.numbers.push((name.to_string(), number)),
                Err(_) => return fault("no such instruction"),
            },
            (["push", _], Some(module)) => module.code.push(owned(&words)),
            ([name], Some(module)) if PLAIN.contains(name) => module.code.push(owned(&words)),
            _ => return fault("no such instruction"),
        }
    }
    Ok(modules)
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| word.to_string()).collect()
}

/// The program that two modules make together, as lines.
pub fn fuse(modules: &[Module]) -> Result<Vec<String>, String> {
    let names = resolve(modules)?;
    match modules {
        [first, second] => Ok([lines(first, &names)?, lines(second, &names)?].concat()),
        _ => Err(format!(
            "two modules can be fused, and there are {}",
            modules.len()
        )),
    }
}

/// What each name means; every name may be given once.
fn resolve(modules: &[Module]) -> Result<HashMap<&str, i64>, String> {
    let mut names = HashMap::new();
    for module in modules {
        for (name, value) in &module.numbers {
            if names.insert(name.as_str(), *value).is_some() {
                return Err(format!("{}: {name} is named a second time", module.name));
            }
        }
    }
    Ok(names)
}

/// The instructions of one module, with numbers in place of names.
fn lines(module: &Module, names: &HashMap<&str, i64>) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    for words in &module.code {
        match words.as_slice() {
            [push, name] if name.parse::<i64>().is_err() => match names.get(name.as_str()) {
                Some(value) => found.push(format!("{push} {value}")),
                None => return Err(format!("{}: nothing is named {name}", module.name)),
            },
            _ => found.push(words.join(" ")),
        }
    }
    Ok(found)
}

/// What a program prints; this is how the machine behaves.
pub fn run(program: &[String], inputs: &[i64]) -> Result<Vec<i32>, String> {
    let mut inputs: VecDeque<i64> = inputs.iter().copied().collect();
    let (mut stack, mut printed) = (Vec::new(), Vec::new());
    for line in program {
        step(line, &mut stack, &mut inputs, &mut printed)
            .ok_or_else(|| format!("{line}: it cannot be done here"))?;
    }
    Ok(printed)
}

fn step(
    line: &str,
    stack: &mut Vec<i32>,
    inputs: &mut VecDeque<i64>,
    printed: &mut Vec<i32>,
) -> Option<()> {
    match line.split_once(' ').unwrap_or((line, "")) {
        ("push", number) => stack.push(number.parse::<i64>().ok()? as i32),
        ("read", _) => stack.push(inputs.pop_front()? as i32),
        ("print", _) => printed.push(stack.pop()?),
        ("dup", _) => stack.push(*stack.last()?),
        ("drop", _) => {
            stack.pop()?;
        }
        ("swap", _) => {
            let (b, a) = (stack.pop()?, stack.pop()?);
            stack.extend([b, a]);
        }
        (name, _) => {
            let (b, a) = (stack.pop()?, stack.pop()?);
            stack.push(operate(name, a, b)?);
        }
    }
    Some(())
}

/// What an operation on two words makes of them.
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
