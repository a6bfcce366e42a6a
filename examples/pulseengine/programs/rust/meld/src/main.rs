use std::fs;
use std::process::ExitCode;

const USAGE: &str = "usage: meld fuse FILE... -o PROGRAM\n       meld run PROGRAM NUMBER...";

fn main() -> ExitCode {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = given.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["fuse", files @ .., "-o", made] if !files.is_empty() => fuse(files, made),
        ["run", file, numbers @ ..] => run(file, numbers),
        _ => Err(USAGE.to_string()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("meld: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn fuse(files: &[&str], made: &str) -> Result<(), String> {
    let mut modules = Vec::new();
    for file in files {
        modules.extend(meld::parse(&read(file)?)?);
    }
    let text: String = meld::fuse(&modules)?
        .iter()
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(made, text).map_err(|fault| format!("{made}: {fault}"))
}

fn run(file: &str, numbers: &[&str]) -> Result<(), String> {
    let program: Vec<String> = read(file)?.lines().map(String::from).collect();
    let inputs: Result<Vec<i64>, _> = numbers.iter().map(|number| number.parse()).collect();
    for word in meld::run(&program, &inputs.map_err(|fault| format!("{fault}"))?)? {
        println!("{word}");
    }
    Ok(())
}

fn read(file: &str) -> Result<String, String> {
    fs::read_to_string(file).map_err(|fault| format!("{file}: {fault}"))
}
