//! The program: the verbs that exist so far.

use std::{io::Write as _, process::ExitCode};

use composed::cli::{app, rootfs};

fn main() -> anyhow::Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["demo-app"] => tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(app::run()),
        ["demo-app", "check"] => Ok(app::check()),
        ["own-rootfs"] => {
            std::io::stdout().write_all(&rootfs::own_rootfs()?)?;
            Ok(ExitCode::SUCCESS)
        }
        _ => anyhow::bail!("usage: composed demo-app | demo-app check | own-rootfs"),
    }
}
