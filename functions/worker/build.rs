//! Tells `duckdb-engine` where it finds libduckdb: beside itself, or where it was linked from.

#![allow(clippy::print_stdout, reason = "it is how a build script speaks")]

fn main() -> Result<(), std::env::VarError> {
    println!("cargo::rerun-if-env-changed=DUCKDB_LIB_DIR");
    if std::env::var_os("CARGO_FEATURE_DUCKDB").is_some() {
        let folder = std::env::var("DUCKDB_LIB_DIR")?;
        println!("cargo::rustc-link-arg-bins=-Wl,-rpath,$ORIGIN/duckdb,-rpath,{folder}");
    }
    Ok(())
}
