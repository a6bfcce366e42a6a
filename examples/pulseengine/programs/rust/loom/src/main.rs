use std::fs;
use std::process::ExitCode;

const USAGE: &str = "usage: loom optimise PROGRAM -o PROGRAM\n       loom obligation RULE";

fn main() -> ExitCode {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = given.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["optimise", file, "-o", made] => optimise(file, made),
        ["obligation", rule] => loom::obligation(rule)
            .map(|text| print!("{text}"))
            .ok_or_else(|| format!("there is no rule {rule}")),
        _ => Err(USAGE.to_string()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("loom: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn optimise(file: &str, made: &str) -> Result<(), String> {
    let program = fs::read_to_string(file).map_err(|fault| format!("{file}: {fault}"))?;
    let lines: Vec<&str> = program.lines().collect();
    let text: String = loom::optimise(&lines)
        .iter()
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(made, text).map_err(|fault| format!("{made}: {fault}"))
}
