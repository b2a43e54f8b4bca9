//! Child processes that end with the test, however the test ends.

use crate::wait::wait_for_some;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// A signal of POSIX that a fault test sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: asks the process to drain and end.
    Terminate,
    /// SIGINT: what Ctrl-C sends.
    Interrupt,
    /// SIGKILL: ends the process at once, nothing is drained.
    Kill,
    /// SIGSTOP: the process stands still, its connections stay open. A zombie in the sense of Kafka.
    Stop,
    /// SIGCONT: the process goes on after a SIGSTOP.
    Continue,
}

/// A running child process. Dropping it kills it.
///
/// A test binary that is killed, or that holds the process in a `static`, runs no destructor. A watchdog therefore waits at the far end of a pipe
/// that closes when the test binary is gone, in whatever way, and kills the process then.
#[derive(Debug)]
pub struct Process {
    child: Child,
    watchdog: Child,
}

impl Process {
    /// Starts `command` in a process group of its own, so that Ctrl-C reaches the test and not the process behind its back.
    pub fn spawn(command: &mut Command) -> io::Result<Process> {
        Process::start(command, None)
    }

    /// As [`Process::spawn`]; the watchdog also removes `folder`, which is the process's own.
    pub(crate) fn spawn_with_folder(command: &mut Command, folder: &Path) -> io::Result<Process> {
        Process::start(command, Some(folder))
    }

    fn start(command: &mut Command, folder: Option<&Path>) -> io::Result<Process> {
        let mut child = command.process_group(0).spawn()?;
        let watchdog = Command::new("sh")
            .args(["-c", r#"read -r _; kill -9 "$1"; [ $# = 1 ] || rm -rf "$2""#, "sh"])
            .arg(child.id().to_string())
            .args(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        match watchdog {
            Ok(watchdog) => Ok(Process { child, watchdog }),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(error)
            }
        }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// User and system time it has taken so far, in seconds (proc(5): fields 14 and 15 of stat, in hundredths of a second); 0 once it has
    /// been waited for.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap_or_default();
        let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(2);
        fields.filter_map(|hundredths| hundredths.parse::<f64>().ok()).sum::<f64>() / 100.0
    }

    /// Its resident memory in thousands of kB as the kernel counts them (proc(5)); 0 once it has been waited for.
    pub fn resident(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or_default() / 1000.0
    }

    /// The child itself, for its piped output.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends `signal`. A process that has already been waited for gets nothing.
    ///
    /// # Panics
    /// When the shell that sends it cannot be started.
    #[track_caller]
    pub fn signal(&mut self, signal: Signal) {
        if self.exited().is_some() {
            return;
        }
        let name = match signal {
            Signal::Terminate => "TERM",
            Signal::Interrupt => "INT",
            Signal::Kill => "KILL",
            Signal::Stop => "STOP",
            Signal::Continue => "CONT",
        };
        let sent = Command::new("sh").args(["-c", r#"kill -s "$1" "$2""#, "sh", name, &self.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "SIG{name} could not be sent to process {}", self.id());
    }

    /// How the process ended, if it has.
    ///
    /// # Panics
    /// When the system cannot tell.
    #[track_caller]
    pub fn exited(&mut self) -> Option<ExitStatus> {
        match self.child.try_wait() {
            Ok(status) => status,
            Err(error) => panic!("process {} cannot be waited for: {error}", self.id()),
        }
    }

    /// Waits until the process ends by itself.
    ///
    /// # Panics
    /// After `deadline`.
    #[track_caller]
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let what = format!("the end of process {}", self.id());
        wait_for_some(deadline, &what, || self.exited())
    }

    /// SIGTERM, then waits for the end.
    ///
    /// # Panics
    /// When the process has not ended after `deadline`.
    #[track_caller]
    pub fn terminate(&mut self, deadline: Duration) -> ExitStatus {
        self.signal(Signal::Terminate);
        self.wait(deadline)
    }

    /// SIGKILL, then waits for the end.
    ///
    /// # Panics
    /// When the process is still there ten seconds later.
    #[track_caller]
    pub fn kill(&mut self) -> ExitStatus {
        self.signal(Signal::Kill);
        self.wait(Duration::from_secs(10))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // First the watchdog: its process id to kill may belong to somebody else as soon as the child has been waited for.
        for process in [&mut self.watchdog, &mut self.child] {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
