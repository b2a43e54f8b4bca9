//! A disk that is full: the log stays as it was, and goes on when there is room again.

use super::*;
use std::process::Command;
use weir_wire::ErrorCode;

/// Where the process is started again with little room for its files; the folder to use is its value.
const CHILD: &str = "WEIR_LOG_FAULTS_FOLDER";
/// Blocks of 512 bytes that a file may have there.
const BLOCKS: u64 = 20;

/// Runs a test of this binary again in a shell where no file grows beyond a bound: what does not fit is written in part.
fn with_little_room(test: &str, folder: &Path) {
    let script = format!("trap '' XFSZ; ulimit -f {BLOCKS}; exec \"$0\" \"$@\"");
    let output = Command::new("sh")
        .args(["-c", &script])
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(CHILD, folder)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_write_that_fails_half_way_is_cut_back() {
    let Some(folder) = std::env::var_os(CHILD) else {
        let folder = tempfile::tempdir().unwrap();
        with_little_room("log::faults::a_write_that_fails_half_way_is_cut_back", folder.path());
        // Without the bound it goes on where it was.
        let log = Log::open(&folder.path().join("p"), LogConfig::default(), &Files::new(8), NOW).unwrap();
        let base = log.end();
        assert!(base > 5);
        log.append(plain(&[&"x".repeat(1_000)]), CLIENT, NOW).unwrap();
        assert_eq!(read_all(&log).len() as i64, base + 1);
        return;
    };
    let folder = Path::new(&folder).join("p");
    let log = Log::open(&folder, LogConfig::default(), &Files::new(8), NOW).unwrap();
    let value = "x".repeat(1_000);
    let append = |sequence: i64| log.append(idempotent(1, 0, sequence as i32, &[&value]), CLIENT, NOW);
    let mut end = 0;
    let error = loop {
        match append(end) {
            Ok(_) => end += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.code, ErrorCode::KAFKA_STORAGE_ERROR, "{error}");
    let path = recover::files(&folder, ".log").pop().unwrap();
    for _ in 0..3 {
        assert_eq!((log.end(), read_all(&log).len() as i64), (end, end));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), log.size());
        // The producer may try again, and its batch is no duplicate.
        assert_eq!(append(end).unwrap_err().code, ErrorCode::KAFKA_STORAGE_ERROR);
    }
    // What is small still fits, whole.
    log.append(plain(&["y"]), CLIENT, NOW).unwrap();
    assert_eq!(log.end(), end + 1);
}

#[test]
fn what_cannot_be_cut_off_is_no_part_of_the_log() {
    let mut lab = Lab::new(LogConfig::default());
    lab.put(&["a"]);
    // The file becomes a device that is always full and that cannot be cut.
    let path = recover::files(lab.folder.path(), ".log").pop().unwrap();
    let aside = lab.folder.path().join("aside");
    std::fs::rename(&path, &aside).unwrap();
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let others: Vec<TempDir> = (0..40).map(|_| tempfile::tempdir().unwrap()).collect();
    let forget =
        || others.iter().for_each(|folder| drop(Log::open(folder.path(), lab.config.clone(), &lab.files, NOW)));
    let keep: Vec<Log> = others.iter().map(|folder| lab.open(folder.path())).collect();
    assert_eq!(lab.append(plain(&["b"])).unwrap_err().code, ErrorCode::KAFKA_STORAGE_ERROR);
    assert_eq!(lab.log.end(), 1);
    // The file is back, with half a batch at its end that could not be cut off.
    std::fs::remove_file(&path).unwrap();
    std::fs::rename(&aside, &path).unwrap();
    let bytes = [std::fs::read(&path).unwrap(), plain(&["b"])[..70].to_vec()].concat();
    std::fs::write(&path, bytes).unwrap();
    drop(keep);
    forget();
    let more: Vec<TempDir> = (0..40).map(|_| tempfile::tempdir().unwrap()).collect();
    let _keep: Vec<Log> = more.iter().map(|folder| lab.open(folder.path())).collect();
    assert_eq!(lab.put(&["c"]), 1);
    assert_eq!(lab.all(), from(0, &["a", "c"]));
    lab.kill();
    assert_eq!(lab.all(), from(0, &["a", "c"]));
}
