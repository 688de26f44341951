//! Secrets of a server: the administrator's token, and the key from which attempts' tokens follow.
//!
//! Both lie in the data folder, with mode 0600. Only hashes are compared, in constant time.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bowline_core::id::{AttemptNo, AttemptRef, Fence, Generation, TaskRef};

/// Bytes of a token's secret part.
const SECRET_BYTES: usize = 32;

/// A secret could not be read or made.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The disk failed.
    #[error("could not {operation} {path}")]
    Io {
        /// What was being done.
        operation: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The file does not hold a secret.
    #[error("{path} does not hold 64 hexadecimal digits; remove it to have a new one made")]
    Damaged {
        /// Which file.
        path: PathBuf,
    },
}

/// The secrets of one server.
pub struct Secrets {
    admin: blake3::Hash,
    attempts: [u8; 32],
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

impl Secrets {
    /// Reads both secrets, and makes those that are not there yet. Blocks.
    pub fn open(token_file: &Path, secret_file: &Path) -> Result<Self, SecretsError> {
        let token = read_or_make(token_file)?;
        let secret = read_or_make(secret_file)?;
        // Nobody types this one, and tokens that were given out before stay good.
        let attempts = *blake3::hash(secret.to_ascii_lowercase().as_bytes()).as_bytes();
        Ok(Self { admin: blake3::hash(token.as_bytes()), attempts })
    }

    /// Whether this is the administrator's token.
    pub fn is_admin(&self, token: &str) -> bool {
        // Comparing two `Hash`es takes constant time.
        blake3::hash(token.as_bytes()) == self.admin
    }

    /// The token that is good for one attempt: `bat-TASK-GENERATION-ATTEMPT-PROOF`.
    pub fn attempt_token(&self, attempt: AttemptRef) -> String {
        let name = attempt_name(attempt);
        format!("bat-{name}-{}", self.proof(&name).to_hex())
    }

    /// The attempt that a token is good for, where the server made it. Needs no store.
    pub fn attempt_of(&self, token: &str) -> Option<AttemptRef> {
        let (name, proof) = token.strip_prefix("bat-")?.rsplit_once('-')?;
        if self.proof(name) != blake3::Hash::from_hex(proof).ok()? {
            return None;
        }
        let mut parts = name.split('-');
        let task: TaskRef = parts.next()?.parse().ok()?;
        let generation = Generation(parts.next()?.parse().ok()?);
        let attempt = AttemptNo(parts.next()?.parse().ok()?);
        Some(AttemptRef { task, fence: Fence { generation, attempt } })
    }

    fn proof(&self, name: &str) -> blake3::Hash {
        blake3::keyed_hash(&self.attempts, name.as_bytes())
    }
}

fn attempt_name(attempt: AttemptRef) -> String {
    format!("{}-{}-{}", attempt.task, attempt.fence.generation, attempt.fence.attempt)
}

/// A fresh secret of 32 random bytes, in hexadecimal.
pub fn random_secret() -> io::Result<String> {
    let mut bytes = [0; SECRET_BYTES];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(blake3::Hash::from_bytes(bytes).to_hex().to_string())
}

fn read_or_make(path: &Path) -> Result<String, SecretsError> {
    let failed = |operation| move |source| SecretsError::Io { operation, path: path.to_owned(), source };
    match fs::read_to_string(path) {
        Ok(text) => {
            let text = text.trim();
            blake3::Hash::from_str(text).map_err(|_| SecretsError::Damaged { path: path.to_owned() })?;
            // As it is written there: whoever reads it uses it so.
            Ok(text.to_owned())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let secret = random_secret().map_err(failed("make a secret for"))?;
            write_new(path, &secret).map_err(failed("write"))?;
            Ok(secret)
        }
        Err(source) => Err(failed("read")(source)),
    }
}

/// Whole or not at all: a crash leaves no half of a secret behind.
fn write_new(path: &Path, secret: &str) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(secret.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use bowline_core::id::TaskId;

    use super::*;

    fn secrets() -> (tempfile::TempDir, Secrets) {
        let folder = tempfile::tempdir().unwrap();
        let secrets = Secrets::open(&folder.path().join("token"), &folder.path().join("secret")).unwrap();
        (folder, secrets)
    }

    #[test]
    fn the_token_is_made_once_and_only_its_owner_may_read_it() {
        let (folder, secrets) = secrets();
        let path = folder.path().join("token");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let token = fs::read_to_string(&path).unwrap();
        assert!(secrets.is_admin(token.trim()));
        assert!(!secrets.is_admin(""));
        let again = Secrets::open(&path, &folder.path().join("secret")).unwrap();
        assert!(again.is_admin(token.trim()));
    }

    #[test]
    fn a_token_is_good_for_its_own_attempt_only() {
        let (_folder, secrets) = secrets();
        let attempt = AttemptRef {
            task: TaskRef::element(TaskId(4711), 7),
            fence: Fence { generation: Generation(1), attempt: AttemptNo(2) },
        };
        let token = secrets.attempt_token(attempt);
        assert_eq!(secrets.attempt_of(&token), Some(attempt));
        assert_eq!(secrets.attempt_of(&token.replace("4711.7", "4711.8")), None);
        let (_other_folder, other) = self::secrets();
        assert_eq!(other.attempt_of(&token), None);
        for odd in ["", "bat-", "bat--", "bat-1-1-1", "bat-x-1-1-00"] {
            assert_eq!(secrets.attempt_of(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_token_opens_the_door_as_it_is_written_in_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let (token, secret) = (folder.path().join("token"), folder.path().join("secret"));
        let text = "0123456789ABCDEFabcdef".repeat(3)[..64].to_owned();
        fs::write(&token, format!("{text}\n")).unwrap();
        let secrets = Secrets::open(&token, &secret).unwrap();
        assert!(secrets.is_admin(&text) && !secrets.is_admin(&text.to_lowercase()));
        let attempt = AttemptRef {
            task: "7".parse().unwrap(),
            fence: Fence { generation: Generation(0), attempt: AttemptNo(1) },
        };
        let given = secrets.attempt_token(attempt);
        fs::write(&secret, fs::read_to_string(&secret).unwrap().to_uppercase()).unwrap();
        assert_eq!(Secrets::open(&token, &secret).unwrap().attempt_of(&given), Some(attempt));
    }

    #[test]
    fn a_damaged_secret_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "short").unwrap();
        let error = Secrets::open(&path, &folder.path().join("secret")).unwrap_err();
        assert!(matches!(error, SecretsError::Damaged { .. }), "{error}");
    }
}
