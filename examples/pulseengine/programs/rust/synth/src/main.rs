use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::ExitCode;

const USAGE: &str = "usage: synth compile PROGRAM -o EXECUTABLE";

fn main() -> ExitCode {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = given.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["compile", file, "-o", made] => compile(file, made),
        _ => Err(USAGE.to_string()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("synth: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn compile(file: &str, made: &str) -> Result<(), String> {
    let program = fs::read_to_string(file).map_err(|fault| format!("{file}: {fault}"))?;
    let text = synth::compiled(&program)?;
    fs::write(made, text)
        .and_then(|()| fs::set_permissions(made, fs::Permissions::from_mode(0o755)))
        .map_err(|fault| format!("{made}: {fault}"))
}
