//! Starting a program that goes down with us.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock};

/// Starts a program that goes on until it is killed. The kernel ends it when the *thread* that started it ends, so
/// all are started by one thread that lives as long as the process.
pub(crate) fn spawn(command: &Command, log: File) -> Child {
    type Job = (Command, Sender<std::io::Result<Child>>);
    static SPAWNER: OnceLock<Mutex<Sender<Job>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, jobs) = channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, reply) in jobs {
                let _ = reply.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    let mut wrapped = Command::new("setpriv");
    wrapped
        .args(["--pdeathsig=KILL", "--"])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("files can be shared"))
        .stderr(log);
    let (reply, child) = channel();
    let sender = spawner.lock().expect("no starter panics");
    sender.send((wrapped, reply)).expect("the spawner lives");
    drop(sender);
    let child = child.recv().expect("the spawner answers");
    child.expect("setpriv starts")
}
