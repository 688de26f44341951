//! A job's file as it grows, is truncated, grows beyond its limit, and is looked at again after a break.

use std::io::Write as _;

use bowline_protocol::sample;

use super::super::keep_of;
use super::*;

/// A job's file, its log, and what the server would have of it.
struct Stand {
    folder: tempfile::TempDir,
    tail: Tail,
    kept: Vec<u8>,
    left_out: Vec<(u64, u64)>,
    truncated: Vec<u64>,
    sealed_at: Option<u64>,
}

impl Stand {
    fn new(limit: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("output.log");
        std::fs::write(&path, b"").unwrap();
        let tail = Tail::new((sample::attempt(1, None), LogStream::Output), path, keep_of(limit), 0);
        Self { folder, tail, kept: Vec::new(), left_out: Vec::new(), truncated: Vec::new(), sealed_at: None }
    }

    fn write(&self, bytes: &[u8]) {
        let mut file = std::fs::OpenOptions::new().append(true).open(&self.tail.path).unwrap();
        file.write_all(bytes).unwrap();
    }

    fn truncate(&self) {
        std::fs::OpenOptions::new().write(true).open(&self.tail.path).unwrap().set_len(0).unwrap();
    }

    /// Looks until there is nothing more; the server takes what is sent.
    fn ship(&mut self) {
        loop {
            let Some(look) = self.tail.look(u64::MAX) else { return };
            let (segments, more) = self.tail.saw(look.read());
            for segment in segments {
                self.take(&segment);
                let sealed = if self.sealed_at.is_some() { Sealed::Yes } else { Sealed::No };
                self.tail.acked(self.kept.len() as u64, sealed);
            }
            if more == More::No {
                return;
            }
        }
    }

    /// As the server does.
    fn take(&mut self, segment: &LogSegment) {
        let length = self.kept.len() as u64;
        if segment.offset > length {
            let from = segment.left_out_from.expect("a gap is declared");
            assert!(from <= length);
            self.left_out.push((length, segment.offset));
            self.kept.resize(usize::try_from(segment.offset).unwrap(), 0);
        }
        if segment.truncated == Truncated::Yes {
            self.truncated.push(segment.offset);
        }
        let there = self.kept.len() - usize::try_from(segment.offset).unwrap();
        self.kept.extend_from_slice(segment.content.get(there..).unwrap_or_default());
        self.sealed_at = self.sealed_at.or(segment.sealed_at);
    }
}

#[test]
fn a_log_is_shipped_as_it_grows_and_sealed_at_its_end() {
    let mut stand = Stand::new(1 << 20);
    stand.ship();
    stand.write(b"one\n");
    stand.ship();
    let big = vec![b'x'; limits::LOG_SEGMENT_BYTES_MAX * 3 + 10];
    stand.write(&big);
    stand.ship();
    assert_eq!(stand.sealed_at, None);
    stand.tail.over();
    stand.ship();
    assert_eq!(stand.kept, [b"one\n", &big[..]].concat());
    assert_eq!(stand.sealed_at, Some(stand.kept.len() as u64));
    assert!(stand.tail.look(1).is_none());
    assert_eq!((stand.left_out, stand.truncated), (vec![], vec![]));
}

#[test]
fn after_a_break_it_goes_on_from_what_the_server_has() {
    let mut stand = Stand::new(1 << 20);
    stand.write(b"0123456789");
    let (segments, _) = stand.tail.saw(stand.tail.look(4).unwrap().read());
    stand.take(&segments[0]);
    stand.tail.acked(4, Sealed::No);
    // Sent, and lost with the connection.
    drop(stand.tail.saw(stand.tail.look(4).unwrap().read()));
    stand.tail.over();
    stand.tail.rewind();
    stand.ship();
    assert_eq!((&stand.kept[..], stand.sealed_at), (&b"0123456789"[..], Some(10)));
}

#[test]
fn what_is_not_acknowledged_is_bounded() {
    let mut stand = Stand::new(64 << 20);
    stand.write(&vec![b'x'; limits::LOG_WINDOW_BYTES_MAX * 2]);
    let mut sent = 0;
    loop {
        let (segments, _) = stand.tail.saw(stand.tail.look(u64::MAX).unwrap().read());
        if segments.is_empty() {
            break;
        }
        sent += segments.iter().map(|segment| segment.content.len()).sum::<usize>();
    }
    assert_eq!(sent, limits::LOG_WINDOW_BYTES_MAX);
}

#[test]
fn a_job_that_truncates_its_output_is_noticed_and_marked() {
    let mut stand = Stand::new(1 << 20);
    stand.write(b"before\n");
    stand.ship();
    stand.truncate();
    stand.write(b"new\n");
    stand.ship();
    assert_eq!((&stand.kept[..], &stand.truncated[..]), (&b"before\nnew\n"[..], &[7][..]));
    // By as many bytes as there were: told by what they are.
    stand.truncate();
    stand.write(b"NEW\nand more\n");
    stand.ship();
    // Another process of the worker knows where the file begins.
    let again = Tail::new((stand.tail.attempt, stand.tail.stream), stand.tail.path.clone(), keep_of(1 << 20), 11);
    stand.tail = again;
    stand.write(b"end\n");
    stand.tail.over();
    stand.ship();
    assert_eq!(stand.kept, b"before\nnew\nNEW\nand more\nend\n");
    assert_eq!((stand.truncated.first(), stand.truncated.last()), (Some(&7), Some(&11)));
    assert_eq!((stand.left_out, stand.sealed_at), (vec![], Some(28)));
    drop(stand.folder);
}

#[test]
fn what_was_truncated_before_it_was_acknowledged_is_left_out() {
    let mut stand = Stand::new(1 << 20);
    stand.write(b"lost with the connection\n");
    drop(stand.tail.saw(stand.tail.look(100).unwrap().read()));
    stand.truncate();
    stand.write(b"new\n");
    drop(stand.tail.saw(stand.tail.look(100).unwrap().read()));
    stand.tail.rewind();
    stand.ship();
    assert_eq!((stand.left_out, stand.truncated), (vec![(0, 25)], vec![25]));
    assert_eq!(&stand.kept[25..], b"new\n");
}

#[test]
fn beyond_its_limit_head_and_tail_are_shipped_and_the_disk_gets_the_rest_back() {
    use std::os::unix::fs::MetadataExt as _;
    let mut stand = Stand::new(1 << 20);
    let line = |number: usize| format!("{number:015}\n");
    let all: String = (0..(8 << 20) / 16).map(line).collect();
    for piece in all.as_bytes().chunks(3 << 20) {
        stand.write(piece);
        stand.ship();
    }
    stand.tail.over();
    stand.ship();
    let (head, tail) = (keep_of(1 << 20).head, keep_of(1 << 20).tail);
    let size = all.len() as u64;
    assert_eq!(stand.sealed_at, Some(size));
    let at = |offset: u64| usize::try_from(offset).unwrap();
    assert_eq!(stand.kept[..at(head)], all.as_bytes()[..at(head)]);
    assert_eq!(stand.kept[at(size - tail)..], all.as_bytes()[at(size - tail)..]);
    assert!(stand.left_out.iter().all(|gap| gap.0 >= head && gap.1 <= size - tail), "{:?}", stand.left_out);
    assert!(!stand.left_out.is_empty());
    let blocks = std::fs::metadata(&stand.tail.path).unwrap().blocks() * 512;
    assert!(blocks <= (1 << 20) + (3 << 16), "{blocks} bytes on the disk");
    assert!(stand.truncated.is_empty());
}

#[test]
fn secrets_are_masked_however_they_are_split() {
    let mut stand = Stand::new(1 << 20);
    std::fs::write(stand.folder.path().join("masked"), r#"["hunter2", "t0ken-of-the-job"]"#).unwrap();
    let text = "pass hunter2 then\nt0ken-of-the-job\nhunt";
    for byte in text.bytes() {
        stand.write(&[byte]);
        stand.ship();
    }
    // What may go on as a secret waits.
    assert_eq!(stand.kept, b"pass ******* then\n****************\n");
    stand.tail.over();
    stand.ship();
    assert_eq!(stand.kept, b"pass ******* then\n****************\nhunt");
    // Gone back to the middle of one: it is known by what stands before.
    for from in 0..text.len() as u64 {
        let mut tail =
            Tail::new((stand.tail.attempt, stand.tail.stream), stand.tail.path.clone(), keep_of(1 << 20), from);
        tail.over();
        let (segments, _) = tail.saw(tail.look(1000).unwrap().read());
        assert_eq!(segments[0].content, stand.kept[usize::try_from(from).unwrap()..], "{from}");
    }
}

#[test]
fn a_log_that_is_not_there_is_empty_and_holds_nothing_back() {
    let mut tail =
        Tail::new((sample::attempt(1, None), LogStream::Error), PathBuf::from("/no/such/file"), keep_of(4096), 0);
    let (segments, _) = tail.saw(tail.look(10).unwrap().read());
    assert!(segments.is_empty());
    tail.over();
    let (segments, _) = tail.saw(tail.look(10).unwrap().read());
    assert_eq!(segments[0].sealed_at, Some(0));
}

#[test]
fn lines_have_the_time_at_which_they_were_written() {
    let mut stand = Stand::new(1 << 20);
    let write_at = |stand: &Stand, text: &[u8], seconds| {
        stand.write(text);
        let file = std::fs::File::options().write(true).open(&stand.tail.path).unwrap();
        let at = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        file.set_modified(at).unwrap();
    };
    // Nobody listens, and the file is only measured.
    write_at(&stand, b"one\n", 5);
    drop(stand.tail.saw(stand.tail.look(0).unwrap().read()));
    write_at(&stand, b"two\n", 9);
    drop(stand.tail.saw(stand.tail.look(0).unwrap().read()));
    stand.tail.rewind();
    let (segments, _) = stand.tail.saw(stand.tail.look(100).unwrap().read());
    let times: Vec<_> = segments[0].times.iter().map(|time| (time.offset, time.at_ms)).collect();
    assert_eq!(times, [(0, 5_000), (4, 9_000)]);
    stand.take(&segments[0]);
}

#[test]
fn a_flood_goes_on_once_what_is_on_its_way_has_arrived() {
    let mut stand = Stand::new(1 << 20);
    stand.write(&vec![b'a'; 4 << 20]);
    let mut sent = Vec::new();
    let mut look = |stand: &mut Stand| {
        let (segments, _) = stand.tail.saw(stand.tail.look(u64::MAX).unwrap().read());
        let got = !segments.is_empty();
        sent.extend(segments);
        got
    };
    while look(&mut stand) {}
    // Nothing is acknowledged, and the job writes on: nothing more is sent, whatever is left out meanwhile.
    for _ in 0..3 {
        stand.write(&vec![b'b'; 1 << 20]);
        assert!(!look(&mut stand));
    }
    assert!(stand.tail.in_flight() <= limits::LOG_WINDOW_BYTES_MAX as u64);
    for segment in &sent {
        stand.take(segment);
    }
    stand.tail.acked(stand.kept.len() as u64, Sealed::No);
    stand.write(b"last line\n");
    stand.tail.over();
    stand.ship();
    assert!(stand.kept.ends_with(b"last line\n"));
    assert_eq!(stand.sealed_at, Some((7 << 20) + 10));
}

#[test]
fn a_server_that_was_put_back_to_before_gets_what_it_misses_from_wherever_it_is() {
    let mut stand = Stand::new(1 << 20);
    stand.write(b"one\ntwo\n");
    stand.ship();
    for had in [4, 0] {
        // It had acknowledged more than it has now.
        stand.kept.truncate(had);
        stand.write(b"more\n");
        for _ in 0..2 {
            let look = stand.tail.look(u64::MAX).unwrap();
            let (segments, _) = stand.tail.saw(look.read());
            assert!(segments[0].offset > had as u64, "it does not know better yet");
            stand.tail.missed();
        }
        stand.ship();
    }
    stand.tail.over();
    stand.ship();
    assert_eq!(stand.kept, b"one\ntwo\nmore\nmore\n");
    assert_eq!((stand.sealed_at, stand.left_out), (Some(18), vec![]));
}
