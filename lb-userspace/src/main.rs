use std::process::ExitCode;

fn main() -> ExitCode {
    lb::cli::main()
}
