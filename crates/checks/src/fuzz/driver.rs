//! Feeds inputs to readers, and catches what goes wrong. Owns: time, files and the panic hook of this process.

use super::mutate::Mutator;
use super::targets::Target;
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

/// A reader that takes longer than this over one input hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a run did.
#[derive(Debug)]
pub struct Report {
    /// One a reader.
    pub tried: Vec<Tried>,
    /// The first failure of each reader that has one.
    pub failures: Vec<Failure>,
}

/// What was tried on one reader.
#[derive(Debug)]
pub struct Tried {
    /// The reader.
    pub target: &'static str,
    /// How many inputs.
    pub inputs: u64,
    /// How many bytes they had together.
    pub bytes: u64,
}

/// An input on which a reader panicked.
#[derive(Debug)]
pub struct Failure {
    /// The reader.
    pub target: &'static str,
    /// What the panic said, and where.
    pub panic: String,
    /// Where the input was saved.
    pub file: PathBuf,
}

/// Tries each reader for its share of the time, or until it fails. Inputs that fail are saved in `folder`; the input that is
/// being read always stands there too, for the case that the process itself ends.
///
/// # Errors
/// When the folder cannot be written.
pub fn fuzz(targets: &[Target], seed: u64, time: Duration, folder: &Path) -> Result<Report> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let said = listen_to_panics();
    let mut report = Report {
        tried: Vec::new(),
        failures: Vec::new(),
    };
    let share = time / u32::try_from(targets.len()).expect("there are few readers");
    for target in targets {
        let current = Current::create(folder, target.name)?;
        let seeds = (target.seeds)();
        let mut mutator = Mutator::new(seed, &seeds, target.dictionary);
        let mut tried = Tried {
            target: target.name,
            inputs: 0,
            bytes: 0,
        };
        // The seeds as they are come first: a corpus that the reader refuses at once would try nothing.
        let mut as_they_are = seeds.iter();
        let end = Instant::now() + share;
        while Instant::now() < end {
            let input = as_they_are
                .next()
                .cloned()
                .unwrap_or_else(|| mutator.next_input());
            current.begin(&input)?;
            tried.inputs += 1;
            tried.bytes += input.len() as u64;
            if catch_unwind(AssertUnwindSafe(|| (target.read)(&input))).is_err() {
                let file = folder.join(format!("{}-{seed}-{}", target.name, tried.inputs));
                fs::write(&file, &input).with_context(|| format!("cannot write {}", file.display()))?;
                let panic = said.lock().map(|said| said.clone()).unwrap_or_default();
                report.failures.push(Failure {
                    target: target.name,
                    panic,
                    file,
                });
                break;
            }
        }
        current.remove()?;
        report.tried.push(tried);
    }
    Ok(report)
}

/// Reads one saved input; panics if the reader does.
///
/// # Errors
/// When there is no such reader or file.
pub fn read_one(targets: &[Target], name: &str, file: &Path) -> Result<()> {
    let known = || {
        targets
            .iter()
            .map(|target| target.name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let target = targets.iter().find(|target| target.name == name);
    let target = target.with_context(|| format!("no reader is named {name}; there are {}", known()))?;
    let input = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    (target.read)(&input);
    Ok(())
}

/// Keeps what the last panic said instead of printing it.
fn listen_to_panics() -> Arc<Mutex<String>> {
    let said = Arc::new(Mutex::new(String::new()));
    let hears = Arc::clone(&said);
    std::panic::set_hook(Box::new(move |panic| {
        if let Ok(mut said) = hears.lock() {
            *said = panic.to_string();
        }
    }));
    said
}

/// The input that is being read, on disk; a thread ends the process when it is read for too long.
struct Current {
    file: File,
    path: PathBuf,
    number: Arc<AtomicU64>,
}

impl Current {
    fn create(folder: &Path, target: &'static str) -> Result<Self> {
        let path = folder.join(format!("{target}-current"));
        let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let number = Arc::new(AtomicU64::new(0));
        let (watched, shown) = (Arc::downgrade(&number), path.clone());
        std::thread::spawn(move || watch(&watched, target, &shown));
        Ok(Self { file, path, number })
    }

    fn begin(&self, input: &[u8]) -> Result<()> {
        self.file.set_len(input.len() as u64)?;
        self.file.write_all_at(input, 0)?;
        self.number.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn remove(self) -> Result<()> {
        Ok(fs::remove_file(&self.path)?)
    }
}

/// Ends the process when the number stands still; ends itself when the reader is done.
fn watch(number: &Weak<AtomicU64>, target: &str, path: &Path) {
    let mut seen = (0, Instant::now());
    while let Some(number) = number.upgrade() {
        let now = number.load(Ordering::Relaxed);
        drop(number);
        if now != seen.0 {
            seen = (now, Instant::now());
        } else if seen.1.elapsed() > PATIENCE {
            eprintln!("{target} hangs on {}", path.display());
            std::process::exit(1);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
