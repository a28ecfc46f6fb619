use crate::StoreError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

/// A lock of the operating system on a file of its own: gone with the process that holds it, so it cannot be stale.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock on `path` and writes `holder` into it for others to read.
    ///
    /// `waiting` is called once, with what the present holder wrote, when the lock is not free; `interrupted` is asked
    /// while waiting.
    ///
    /// # Errors
    /// When the file cannot be created or locked, or the wait is interrupted.
    pub fn acquire(
        path: &Path,
        holder: &str,
        waiting: impl FnOnce(&str),
        interrupted: impl Fn() -> bool,
    ) -> Result<Self, StoreError> {
        let io = || StoreError::io("lock", path);
        let mut file = open(path)?;
        let mut waiting = Some(waiting);
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {
                    if let Some(waiting) = waiting.take() {
                        let mut other = String::new();
                        // Only for the message: an unreadable name is no reason to fail.
                        let _ = file.rewind().and_then(|()| file.read_to_string(&mut other));
                        waiting(other.trim());
                    }
                    if interrupted() {
                        return Err(StoreError::Interrupted);
                    }
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(TryLockError::Error(error)) => return Err(io()(error)),
            }
        }
        Self::held(file, path, holder)
    }

    /// Takes the lock on `path` if it is free; `None` when somebody holds it.
    ///
    /// # Errors
    /// When the file cannot be created or locked.
    pub fn try_acquire(path: &Path, holder: &str) -> Result<Option<Self>, StoreError> {
        let file = open(path)?;
        match file.try_lock() {
            Ok(()) => Self::held(file, path, holder).map(Some),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(StoreError::io("lock", path)(error)),
        }
    }

    fn held(mut file: File, path: &Path, holder: &str) -> Result<Self, StoreError> {
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{holder}"))
            .map_err(StoreError::io("lock", path))?;
        Ok(Self { _file: file })
    }
}

fn open(path: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.open(path).map_err(StoreError::io("lock", path))
}
