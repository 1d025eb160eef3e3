//! What the figures were measured on; without it they say nothing.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use crate::Result;

/// Prints the machine, the file system that `data` will be on, and the versions of the tools.
pub(crate) fn describe(data: &Path) -> Result<()> {
    fs::create_dir_all(data)?;
    println!("machine  {} cores, {}", thread::available_parallelism()?, processor()?);
    println!("kernel   {}", fs::read_to_string("/proc/sys/kernel/osrelease")?.trim());
    println!("data     on {}", file_system(data)?);
    println!("etcd     {}", version("etcd", "etcd-server")?);
    println!("h2load   {}", version("h2load", "nghttp2-client")?);
    Ok(())
}

fn processor() -> Result<String> {
    let info = fs::read_to_string("/proc/cpuinfo")?;
    let model = info.lines().find(|line| line.starts_with("model name"));
    let name = model.and_then(|line| line.split_once(": ")).map_or("unknown processor", |it| it.1);
    Ok(name.to_owned())
}

/// The type and device of the mount that holds `path`: the one with the longest matching prefix.
fn file_system(path: &Path) -> Result<String> {
    let path = fs::canonicalize(path)?;
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mount = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .filter(|fields| fields.len() > 2 && path.starts_with(fields[1]))
        .max_by_key(|fields| fields[1].len());
    Ok(mount.map_or("unknown".to_owned(), |fields| format!("{} ({})", fields[2], fields[0])))
}

fn version(program: &str, package: &str) -> Result<String> {
    let output = Command::new(program).arg("--version").output();
    let output =
        output.map_err(|error| format!("{program} (Debian package {package}): {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
}
